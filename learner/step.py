"""One optimiser step through DeepSpeed: made, or skipped on every rank if its loss or gradient is not finite."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from learner.batch import MicroBatch
from learner.metrics import TokenMeans
from learner.objective import Objective, with_effective_sample_size
from learner.whole_weights import named_weights

# A micro-batch on the model's device, and its objective.
TrainingPass = tuple[MicroBatch, Objective]

_MAX_NAMED = 5


class NonFiniteError(FloatingPointError):
    """Losses or gradients are not finite, step after step; or weights are not, and are therefore not written."""


@dataclass(frozen=True)
class StepResult:
    """The result of one optimiser step."""

    is_made: bool
    """False: the weights are as before."""
    loss: float
    """This rank's share of the loss."""
    grad_norm: float
    """Norm of the whole gradient, before clipping."""


class OptimizerSteps:
    """Makes optimiser steps, and skips those that would destroy the weights.

    All ranks decide alike without asking each other: a loss that is not finite makes the gradients of its rank not
    finite, and gradients are summed over ranks before they are checked.

    Args:
        engine: the DeepSpeed engine.
        zero_stage: what is split over ranks.
        max_nonfinite_steps: most steps in a row that may be skipped.
    """

    def __init__(self, engine: Any, zero_stage: int, max_nonfinite_steps: int) -> None:
        self._engine = engine
        self._zero_stage = zero_stage
        self._max_nonfinite_steps = max_nonfinite_steps
        self._num_skipped_in_a_row = 0
        self._warnings: list[str] = []

    def make(
        self,
        passes: Iterable[TrainingPass],
        num_passes: int,
        means: TokenMeans,
        temperature: float,
        sample_ids: Sequence[str],
    ) -> StepResult:
        """Forward and backward through all passes, then one step.

        Args:
            passes: this rank's share, `num_passes` of them.
            means: the statistics are added to it if the step is made.
            temperature: of the policy.
            sample_ids: of the whole mini-batch, over all ranks.

        Raises:
            NonFiniteError: on every rank, after too many steps in a row that were skipped; names samples.
        """
        total = 0.0
        culprits: list[str] = []
        before = means.snapshot()
        for index, (batch, objective) in enumerate(passes):
            self._engine.set_gradient_accumulation_boundary(index == num_passes - 1)
            loss, statistics = objective(*self._engine(batch.inputs, temperature))
            share = loss.item()
            if not math.isfinite(share):
                culprits += batch.sample_ids
                loss = loss * math.nan  # the gradient of an infinite loss may be finite
            means.add(batch.paths, batch.mask, statistics, batch.weight_versions)
            self._engine.backward(loss * dist.get_world_size())
            total += share
        norm = self._step()
        is_made = math.isfinite(norm)
        if is_made:
            self._num_skipped_in_a_row = 0
        else:
            means.restore(before)
            self._skip(culprits, sample_ids)
        return StepResult(is_made, total, norm)

    def advance_schedule(self, num_steps: int) -> None:
        """Move the learning rate on by steps that were planned and not made."""
        for _ in range(num_steps):
            self._engine.lr_scheduler.step()

    def take_warnings(self) -> list[str]:
        """Which steps were skipped since the last call, and why."""
        warnings, self._warnings = self._warnings, []
        return warnings

    def summary(self, results: Sequence[StepResult], means: TokenMeans) -> dict[str, float]:
        """Metrics of some steps over all ranks; a collective.

        Args:
            results: of the steps, as `make` returned them.
            means: the statistics of those that were made.
        """
        made = [result for result in results if result.is_made]
        loss = torch.tensor([result.loss for result in made], dtype=torch.float64)
        self._all_reduce(loss)
        means.reduce(self._all_reduce)
        of_made = {"loss": float(loss.mean()), "grad_norm": fmean(result.grad_norm for result in made)} if made else {}
        return with_effective_sample_size(means.means()) | {
            **of_made,
            "learning_rate": float(self._engine.get_lr()[0]),
            "num_tokens": float(means.num_tokens()),
            "nonfinite_steps": float(len(results) - len(made)),
        }

    def _all_reduce(self, tensor: Tensor) -> None:
        on_device = tensor.to(self._engine.device)
        dist.all_reduce(on_device)
        tensor.copy_(on_device)

    def _step(self) -> float:
        """Update the weights if the gradients are finite; returns their norm before clipping."""
        if self._zero_stage > 0:
            self._engine.step()  # DeepSpeed keeps the weights if the norm is not finite
            return float(self._engine.get_global_grad_norm()) if self._engine.was_step_applied() else math.inf
        # Without ZeRO, DeepSpeed neither returns the norm nor checks that it is finite. The gradients are whole, and
        # averaged over ranks by now.
        gradients = [parameter.grad for parameter in self._engine.module.parameters() if parameter.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if math.isfinite(norm):
            self._engine.step()
        else:
            self._engine.zero_grad()
            self._engine.global_steps += 1
            self._engine.skipped_steps += 1
        return norm

    def _skip(self, culprits: list[str], sample_ids: Sequence[str]) -> None:
        everywhere: list[list[str]] = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(everywhere, culprits)
        named = sorted({sample_id for part in everywhere for sample_id in part})
        what = (
            f"the loss is not finite in micro-batches of {_listed(named)}"
            if named
            else f"the gradient is not finite in a mini-batch of {_listed(sample_ids)}"
        )
        self.advance_schedule(1)
        self._num_skipped_in_a_row += 1
        if self._num_skipped_in_a_row > self._max_nonfinite_steps:
            raise NonFiniteError(
                f"{what}. {self._num_skipped_in_a_row} optimiser steps in a row were skipped "
                f"(learner.max_nonfinite_steps={self._max_nonfinite_steps}); the weights are those before them. If the "
                "samples are fine, resume from the last checkpoint with a lower learning rate"
            )
        self._warnings.append(
            f"optimiser step {self._engine.global_steps} was skipped, and the weights are as before: {what}"
        )


def check_weights(vlm: nn.Module, target: Path) -> None:
    """
    A collective.

    Raises:
        NonFiniteError: on every rank, if a weight of any rank is NaN or infinite; names it and `target`.
    """
    # Under ZeRO-3 a parameter itself is empty, and `ds_tensor` is this rank's piece of it.
    pieces = [(name, getattr(parameter, "ds_tensor", parameter)) for name, parameter in named_weights(vlm)]
    everywhere: list[list[str]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(everywhere, [name for name, piece in pieces if not torch.isfinite(piece).all()])
    broken = sorted({name for part in everywhere for name in part})
    if broken:
        raise NonFiniteError(
            f"{len(broken)} weights are NaN or infinite, {broken[0]} among them: they are not written to {target}. "
            "Resume from the last checkpoint with a lower learning rate"
        )


def _listed(sample_ids: Sequence[str]) -> str:
    rest = len(sample_ids) - _MAX_NAMED
    return f"samples {', '.join(sample_ids[:_MAX_NAMED])}" + (f" and {rest} more" if rest > 0 else "")
