"""What the program knows of an optimiser. Importing this needs no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

    from learner.optimizers.config import OptimizerConfig


@dataclass(frozen=True)
class OptimizerKind:
    """One kind of optimiser: how it is built, and what its choice implies."""

    build: "Callable[[nn.Module, OptimizerConfig, bool], torch.optim.Optimizer]"
    """(model, settings, whether it steps on a GPU) → the optimiser over the model's trained parameters. On a GPU AdamW
    reads and writes everything in one pass (`fused`)."""
    state_bytes: int
    """Bytes of its state for each trained number, float32."""
    needs_whole_matrices: bool = False
    """Whether it works on whole weight matrices; ZeRO and its float32 masters give an optimiser flat pieces."""
    typical_rate: str | None = None
    """A learning rate to start from, where AdamW's means something else to it."""


def trained_parameters(model: "nn.Module") -> "list[nn.Parameter]":
    """The parameters that are not frozen."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
