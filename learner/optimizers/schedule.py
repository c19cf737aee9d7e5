"""The learning rate over optimiser steps."""

import math

import torch
from torch.optim.lr_scheduler import LambdaLR

from learner.optimizers.config import OptimizerConfig


def rate_factor(step: int, config: OptimizerConfig, total_steps: int | None) -> float:
    """What the peak learning rate is multiplied by at optimiser step `step`, counted from 0.

    Raises:
        ValueError: a cosine without `total_steps`.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    match config.schedule:
        case "constant":
            return 1.0
        case "cosine":
            if total_steps is None:
                raise ValueError("optimizer.schedule=cosine needs the planned number of optimiser steps (total_steps)")
            progress = min(1.0, (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps))
            return config.final_fraction + (1 - config.final_fraction) * (1 + math.cos(math.pi * progress)) / 2


def build_schedule(optimizer: torch.optim.Optimizer, config: OptimizerConfig, total_steps: int | None) -> LambdaLR:
    """The learning rate over optimiser steps; its position is part of a checkpoint."""
    return LambdaLR(optimizer, lambda step: rate_factor(step, config, total_steps))
