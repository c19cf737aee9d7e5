"""How many rollout workers there should be, from where the time of the latest steps went.

the learner waited for groups, and engines generated      ──▶ one worker more
ready groups filled their bound, and engines were idle     ──▶ one worker fewer, if those that stay would be idle too
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from actors.pool.member import State
from actors.pool.rollout_pool import RolloutPool
from rollout.config import FixedScalingConfig, QueueScalingConfig, RolloutConfig


@dataclass(frozen=True)
class StepLoad:
    """What a step waited for."""

    wait_share: float
    """Share of the step's time in which the learner waited for groups."""
    busy_share: float
    """Share of the step's time in which any group was being generated; in the rest, as many as may be were ready."""

    @classmethod
    def of(cls, metrics: Mapping[str, float]) -> "StepLoad":
        """From a line of `metrics.jsonl`."""
        step_s = metrics["time/step_s"]
        return cls(metrics["time/wait_s"] / step_s, min(1.0, metrics["time/rollout_s"] / step_s))


@dataclass(frozen=True)
class Change:
    """Another size of the pool."""

    num_workers: int
    reason: str
    """For people: both sizes, and why."""


class QueueScaling:
    """One worker more or fewer at a time, when several steps in a row call for it. Arithmetic, without clock or pool.

    Two bounds that lie apart keep it from going back and forth: a pool that has grown shrinks only if the smaller one
    would be idle for a good part of each step. After each change, by hand too, it counts steps from 0 and pauses.
    """

    def __init__(self, config: QueueScalingConfig, min_workers: int, max_workers: int) -> None:
        self._config = config
        # Without a worker there would be no step to decide by.
        self._min_workers = max(1, min_workers)
        self._max_workers = max_workers
        self._loads: deque[StepLoad] = deque(maxlen=config.num_steps)
        self._num_workers: int | None = None
        self._changed_s = float("-inf")

    def decide(self, now_s: float, num_workers: int, is_starting: bool, load: StepLoad) -> Change | None:
        """After each step; a change that is returned must be made.

        Args:
            now_s: time on any clock that never goes back.
            num_workers: the pool's size.
            is_starting: whether one of them does not serve yet, so that the step says nothing about this size.
            load: of the step.
        """
        if self._num_workers is not None and num_workers != self._num_workers:
            self._changed_s = now_s
        if num_workers != self._num_workers or is_starting:
            self._num_workers = num_workers
            self._loads.clear()
            return None
        self._loads.append(load)
        if len(self._loads) < self._config.num_steps or now_s - self._changed_s < self._config.cool_down_s:
            return None
        change = self._change(num_workers)
        if change is not None:
            self._num_workers, self._changed_s = change.num_workers, now_s
            self._loads.clear()
        return change

    def _change(self, num_workers: int) -> Change | None:
        waits = [load.wait_share for load in self._loads]
        # If engines are idle while the learner waits, more would not help: scoring is slow.
        generating = min(load.busy_share for load in self._loads) >= self._config.min_busy_share
        if min(waits) > self._config.max_wait_share and generating and num_workers < self._max_workers:
            return Change(
                num_workers + 1,
                f"rollout workers {num_workers} → {num_workers + 1}: the learner waited for groups in "
                f"{_percents(waits)} of the last steps' time",
            )
        if num_workers > self._min_workers:
            busy = [load.busy_share * num_workers / (num_workers - 1) for load in self._loads]
            if max(busy) < self._config.min_busy_share:
                return Change(
                    num_workers - 1,
                    f"rollout workers {num_workers} → {num_workers - 1}: ready groups filled their bound, and one "
                    f"worker fewer would generate in {_percents(busy)} of the last steps' time",
                )
        return None


def first_size(config: RolloutConfig, max_workers: int, loop_state: Mapping[str, Any]) -> int:
    """Workers to begin with: the number wanted when `loop_state` was written, within the run's bounds."""
    asked = loop_state.get("num_rollout_workers", config.num_workers)
    return min(max(asked, config.min_workers), max_workers)


def make_scaling(config: RolloutConfig, max_workers: int) -> QueueScaling | None:
    """The rule that changes the pool's size; None if the size is fixed."""
    match config.scaling:
        case FixedScalingConfig():
            return None
        case QueueScalingConfig():
            return QueueScaling(config.scaling, config.min_workers, max_workers)


def follow_load(
    scaling: QueueScaling, pool: RolloutPool, metrics: Mapping[str, Any], report: Callable[[str], None]
) -> None:
    """After a step with these metrics: resize the pool if its load calls for it, and report why."""
    is_starting = any(member.state in (State.STARTING, State.STALE) for member in pool.status())
    change = scaling.decide(time.monotonic(), pool.size, is_starting, StepLoad.of(metrics))
    if change is not None:
        report(change.reason)
        pool.scale(change.num_workers)


def _percents(shares: list[float]) -> str:
    return ", ".join(f"{share:.0%}" for share in shares)


Steer = Literal["drain", "restart"]


def scale_pool(pool: RolloutPool, config: RolloutConfig, max_workers: int, size: int) -> None:
    """Resize the pool to the number of workers that a person wants.

    Args:
        max_workers: most that the run may have: `config.max_workers`, or fewer where its cards carry no more.

    Raises:
        ValueError: the run's config does not allow that number.
    """
    if not config.min_workers <= size <= max_workers:
        most = f"max_workers={max_workers}" if max_workers == config.max_workers else f"the {max_workers} of its cards"
        raise ValueError(
            f"{size} rollout workers: the run's config allows rollout.min_workers={config.min_workers} to {most}"
        )
    pool.scale(size)


def steer_pool(pool: RolloutPool, config: RolloutConfig, what: Steer, worker: str) -> None:
    """Let one worker go once it has finished, or replace it now.

    Raises:
        ValueError: there is no such worker, or the pool would be smaller than the config allows.
    """
    if what == "drain" and pool.size <= config.min_workers:
        raise ValueError(f"{worker} stays: the run's config wants rollout.min_workers={config.min_workers}")
    try:
        (pool.drain if what == "drain" else pool.restart)(worker)
    except KeyError as error:
        raise ValueError(str(error.args[0])) from None
