"""A run as it is shown to whoever watches it. Importing this needs neither Ray nor torch."""

from dataclasses import dataclass, field
from typing import Any

from actors.member import MemberStatus
from actors.waits import Wait


@dataclass
class Progress:
    """How far the run is, for whoever watches."""

    phase: str = "starting"
    done: int = 0
    total: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    """The latest step's."""


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
    warnings: list[str]
    """Since the run began: losses of workers and of the learner, changes of the pool's size by the scaling policy or a
    resume, and waits that lasted too long."""
