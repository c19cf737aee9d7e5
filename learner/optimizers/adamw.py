"""AdamW (arXiv 1711.05101)."""

from typing import TYPE_CHECKING

from learner.optimizers.kind import OptimizerKind, trained_parameters

if TYPE_CHECKING:
    import torch
    from torch import nn

    from learner.optimizers.config import OptimizerConfig


def _build(model: "nn.Module", config: "OptimizerConfig", on_gpu: bool) -> "torch.optim.Optimizer":
    import torch

    return torch.optim.AdamW(
        trained_parameters(model),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=config.betas,
        eps=config.epsilon,
        fused=on_gpu,
    )


ADAMW = OptimizerKind(_build, state_bytes=8)
