"""Muon (Jordan et al. 2024) for the matrices, AdamW for the rest."""

from typing import TYPE_CHECKING

from learner.optimizers.kind import OptimizerKind

if TYPE_CHECKING:
    import torch
    from torch import nn

    from learner.optimizers.config import OptimizerConfig


def _build(model: "nn.Module", config: "OptimizerConfig", on_gpu: bool) -> "torch.optim.Optimizer":
    from learner.optimizers.muon_with_adamw import MuonWithAdamW

    return MuonWithAdamW(
        model.named_parameters(),
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=config.betas,
        epsilon=config.epsilon,
    )


# Counted as AdamW's, which is right for embeddings and head; a matrix has its momentum alone, half of that.
MUON = OptimizerKind(_build, state_bytes=8, needs_whole_matrices=True, typical_rate="4e-3")
