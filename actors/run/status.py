"""A run as it is shown to whoever watches it. Importing this needs neither Ray nor torch."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from actors.pool.member import MemberStatus
from actors.pool.waits import Wait

_NUM_KEPT = 200


@dataclass
class Progress:
    """How far the run is, for whoever watches."""

    phase: str = "starting"
    done: int = 0
    total: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    """The latest step's."""


class Warnings:
    """What a person should know; the latest are kept, however long the run is."""

    def __init__(self) -> None:
        self.count = 0
        self.latest: deque[str] = deque(maxlen=_NUM_KEPT)

    def add(self, warning: str) -> None:
        self.count += 1
        self.latest.append(warning)


@dataclass(frozen=True)
class RunStatus:
    """A run at a glance."""

    progress: Progress
    version: int | None
    """The published weights; None before reinforcement learning."""
    workers: list[MemberStatus]
    num_reissued: int
    """Responses that were asked for again because their worker left."""
    correction: str
    """Which off-policy correction is on, in words."""
    waits: list[Wait]
    """Who waits for whom, the longest first."""
    num_warnings: int
    """Since the run began."""
    warnings: list[str]
    """The latest of them, the newest last: losses of workers and of the learner, changes of the pool's size by the
    scaling policy or a resume, and waits that lasted too long."""

    def warnings_after(self, num_seen: int) -> list[str]:
        """Those that whoever has seen the first `num_seen` of the run has not seen, as far as they are kept."""
        return self.warnings[max(0, len(self.warnings) - (self.num_warnings - num_seen)) :]
