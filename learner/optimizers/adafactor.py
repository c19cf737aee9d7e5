"""Adafactor (arXiv 1804.04235), as PyTorch has it: no momentum, and a step in proportion to the tensor's own size."""

from typing import TYPE_CHECKING

from learner.optimizers.kind import OptimizerKind, trained_parameters

if TYPE_CHECKING:
    import torch
    from torch import nn

    from learner.optimizers.config import OptimizerConfig


def _build(model: "nn.Module", config: "OptimizerConfig", on_gpu: bool) -> "torch.optim.Optimizer":
    import torch

    return torch.optim.Adafactor(trained_parameters(model), lr=config.learning_rate, weight_decay=config.weight_decay)


# Its second moments are one row and one column for each matrix: nothing beside the weights.
ADAFACTOR = OptimizerKind(
    _build, state_bytes=0, needs_whole_matrices=True, typical_rate="8e-3 (a share of each tensor's size)"
)
