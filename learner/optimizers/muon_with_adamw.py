"""Muon for the matrices, AdamW for the rest: a model of a few million parameters learns two to three times faster.

Muon orthogonalises the momentum of a weight matrix (Jordan et al. 2024; `torch.optim.Muon`). It needs whole matrices,
so it works with ZeRO 0 only. Embeddings, head, gains and biases are AdamW's, as its authors advise.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


def split_parameters(named: Iterable[tuple[str, nn.Parameter]]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(matrices for Muon, all others for AdamW) among the parameters that are trained."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in named:
        if parameter.requires_grad:
            is_table = "embed" in name or "lm_head" in name
            (matrices if parameter.ndim == 2 and not is_table else others).append(parameter)
    return matrices, others


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimisers in one: their parameter groups are its own, so that schedules and clipping see all of them.

    Both have the same learning rate: Muon's steps are scaled to the size that AdamW's would have (`match_rms_adamw`).
    """

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        *,
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float],
        epsilon: float,
    ) -> None:
        matrices, others = split_parameters(named)
        # Three Newton-Schulz steps, not five: for small matrices on CPU they are a tenth of a training step.
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw", ns_steps=3
            ),
            torch.optim.AdamW(others, lr=learning_rate, weight_decay=weight_decay, betas=betas, eps=epsilon),
        ]
        super().__init__([group for part in self._parts for group in part.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        for part, group in zip(self._parts, self.param_groups, strict=True):
            part.param_groups = [group]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Tensor | float | None:  # type: ignore[override]
        loss = None if closure is None else closure()
        for part in self._parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self._parts for group in part.param_groups]
