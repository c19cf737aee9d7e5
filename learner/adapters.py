"""What low-rank adapters (LoRA, arXiv 2106.09685) do to a weight, and under which names; `learner.lora` makes them.

    merged = W + scale · up · down,    scale = alpha / rank

In the model an adapted weight is called `….q_proj.base_layer.weight`; engines and exports know it as `….q_proj.weight`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

_OF_ADAPTERS = (".lora_A.", ".lora_B.", ".base_copy.")
_INSERTED = (".base_layer.", ".trained_copy.")


@dataclass(frozen=True)
class Adapter:
    """What is trained beside one frozen matrix."""

    down: nn.Parameter
    """[rank, in]; LoRA's A."""
    up: nn.Parameter
    """[out, rank]; LoRA's B, zero at first."""
    scale: float

    def merged_with(self, weight: Float[Tensor, "out in"], dtype: torch.dtype) -> Float[Tensor, "out in"]:
        """The weight that acts like `weight` and this adapter together: summed up in float32, then rounded once."""
        down, up = self.down.detach().float(), self.up.detach().float()
        return torch.addmm(weight.detach().float(), up, down, alpha=self.scale).to(dtype)


def outgoing_name(name: str) -> str | None:
    """The name under which engines and exports know a weight of the model in training; None: it is not theirs.

    >>> outgoing_name("model.layers.0.q_proj.base_layer.weight")
    'model.layers.0.q_proj.weight'
    >>> outgoing_name("model.layers.0.q_proj.lora_A.default.weight") is None
    True
    """
    if any(part in name for part in _OF_ADAPTERS):
        return None
    for part in _INSERTED:
        name = name.replace(part, ".")
    return name


def adapters_of(vlm: nn.Module) -> dict[int, Adapter]:
    """The adapter of each adapted weight, by the `id` of the parameter."""
    found = ((module, getattr(module, "adapter", None)) for module in vlm.modules())
    return {
        id(module.get_parameter("base_layer.weight")): adapter
        for module, adapter in found
        if isinstance(adapter, Adapter)
    }
