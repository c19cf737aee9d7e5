"""What needs attention in a run, and what to do about it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from actors.run.status import RunStatus
from dashboard.metrics import MetricsTable
from spatial.sample import ReasoningPath

_WINDOW = 10
# A reward has collapsed when its mean over ten steps is below its best such mean by more than this share.
_LOST_SHARE = 0.3
_MIN_FORMAT = 0.8
_MAX_DIVERGENCE = 0.01
_MAX_FAILURE_SHARE = 0.02
_MIN_FREE_BYTES = 5 << 30
_MIN_FREE_SHARE = 0.03


@dataclass(frozen=True)
class Alarm:
    """Something is wrong, or will be soon."""

    level: Literal["warning", "error"]
    what: str
    advice: str


def find_alarms(metrics: MetricsTable, status: RunStatus | None, folder: Path) -> list[Alarm]:
    """All alarms that hold now, the worst first.

    Args:
        status: the run's status; None if it has ended.
        folder: the run's folder; its disk may be nearly full.
    """
    found = [*_reward(metrics), *_divergence(metrics), *_failures(metrics)]
    if status is not None:
        found += [*_workers(status), *_disk(folder)]
    return sorted(found, key=lambda alarm: alarm.level)


def _means(metrics: MetricsTable, name: str) -> np.ndarray:
    """Means over windows of ten steps; empty while there are fewer steps."""
    values = metrics.column(name)
    values = values[~np.isnan(values)]
    if len(values) < _WINDOW:
        return np.empty(0)
    return np.convolve(values, np.ones(_WINDOW) / _WINDOW, mode="valid")


def _reward(metrics: MetricsTable) -> Iterator[Alarm]:
    for path in ReasoningPath:
        rewards = _means(metrics, f"{path.value}/reward_mean")
        if len(rewards) and rewards[-1] < (1 - _LOST_SHARE) * rewards.max():
            yield Alarm(
                "error",
                f"{path.value.upper()}: the reward has collapsed, from {rewards.max():.2f} to {rewards[-1]:.2f} "
                f"(means of {_WINDOW} steps)",
                "Look at its samples to see what broke, or how the reward is exploited. Resume an earlier checkpoint "
                "with a smaller learner.optimizer.learning_rate or a larger learner.kl_coefficient.",
            )
        formats = _means(metrics, f"{path.value}/format_mean")
        if len(formats) and formats[-1] < _MIN_FORMAT:
            yield Alarm(
                "warning",
                f"{path.value.upper()}: only {formats[-1]:.0%} of responses are in the right format",
                "A longer cold start helps (learner.sft.steps). If responses are cut off, raise "
                "rollout.sampling.max_response_tokens.",
            )


def _divergence(metrics: MetricsTable) -> Iterator[Alarm]:
    means = _means(metrics, "kl_rollout_learner")
    if len(means) and means[-1] > _MAX_DIVERGENCE:
        yield Alarm(
            "warning",
            f"rollout and learner disagree: divergence {means[-1]:.3f} nats per token over {_WINDOW} steps",
            "Lower training.max_staleness, or turn on learner.importance. With low precision, compare both in float32.",
        )


def _failures(metrics: MetricsTable) -> Iterator[Alarm]:
    if "num_failures" not in metrics:
        return
    failures = float(np.nansum(metrics.column("num_failures")[-_WINDOW:]))
    groups = float(np.nansum(metrics.column("groups_trained")[-_WINDOW:]))
    if groups and failures / groups > _MAX_FAILURE_SHARE:
        yield Alarm(
            "warning",
            f"{failures:.0f} responses failed in the last {min(_WINDOW, metrics.num_steps)} steps",
            "Samples lists failed responses with their reasons. Above training.max_failure_share the run ends.",
        )


def _workers(status: RunStatus) -> Iterator[Alarm]:
    for worker in status.workers:
        if worker.is_quarantined:
            yield Alarm(
                "error",
                f"{worker.name} is in quarantine: {worker.reason}",
                "Fix the cause, then restart the worker in Workers, or scale: either gives it another chance.",
            )
    if status.workers and not any(worker.state == "serving" for worker in status.workers):
        yield Alarm("warning", "no rollout worker is serving", "Workers shows the state of each, with the reason.")


def _disk(folder: Path) -> Iterator[Alarm]:
    if not folder.exists():
        return
    disk = shutil.disk_usage(folder)
    if disk.free < _MIN_FREE_BYTES or disk.free / disk.total < _MIN_FREE_SHARE:
        yield Alarm(
            "error",
            f"the disk of {folder} is nearly full: {disk.free / 2**30:.1f} GiB free",
            "Lower training.record_share or training.keep_checkpoints, or free space: a checkpoint that cannot be "
            "written ends the run.",
        )
