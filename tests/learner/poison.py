"""What makes losses or gradients NaN for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

Where = Literal["gradient", "loss"]


@contextmanager
def poisoned(vlm: nn.Module, where: Where) -> Iterator[None]:
    """Within it, one number of one gradient is NaN, or every log-probability and with it the loss."""

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        spoilt = gradient.clone()
        spoilt.view(-1)[0] = torch.nan
        return spoilt

    if where == "gradient":
        handle = vlm.model.language_model.norm.weight.register_hook(spoil)
    else:
        handle = vlm.lm_head.register_forward_hook(lambda module, inputs, output: output * torch.nan)
    try:
        yield
    finally:
        handle.remove()
