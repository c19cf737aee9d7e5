"""A run as terminals and the page show it. Importing this needs neither Ray nor torch."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from actors.pool.member import MemberStatus
from actors.pool.waits import Wait

_NUM_KEPT = 200


@dataclass
class Progress:
    """How far the run is."""

    phase: str = "starting"
    done: int = 0
    total: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    """Those of the latest step."""


class Warnings:
    """Messages that a person should see. Only the latest are kept, so that long runs need no more memory."""

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
    """Version of the published weights; None before reinforcement learning."""
    workers: list[MemberStatus]
    num_responses_reissued: int
    """Responses that were requested again because their worker left."""
    correction: str
    """The off-policy correction in use, in words."""
    waits: list[Wait]
    """Who waits for whom, the longest wait first."""
    num_warnings: int
    """All since the run began."""
    warnings: list[str]
    """The latest of them, the newest last: workers or learners that were lost, changes of the pool's size by the
    scaling policy or a resume, waits that lasted too long, and the like."""
    attention: str = ""
    """What the learner computes attention with, and why nothing faster; empty before the first learner."""

    def warnings_after(self, num_seen: int) -> list[str]:
        """The warnings after the first `num_seen` of the run, as far as they are kept."""
        return self.warnings[max(0, len(self.warnings) - (self.num_warnings - num_seen)) :]
