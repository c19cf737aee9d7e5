"""Groups: what a prompt becomes on its way from the feed to an update."""

from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, stdev

from actors.config import GroupFilterConfig
from rewards.score import Failure, Score
from rollout.trajectory import Trajectory
from spatial.sample import Path, SpatialSample


class FilterCause(StrEnum):
    """Why a group is not worth an update."""

    FAILED = "failed"
    """Fewer than two of its responses were scored."""
    LOW = "low"
    """Its mean reward is too low: the policy misses the question altogether."""
    HIGH = "high"
    """Its mean reward is too high: the policy masters the question."""
    ALIKE = "alike"
    """All its rewards are alike, so no response is better than the others."""


@dataclass(frozen=True)
class Group:
    """All scored responses to one sample through one path.

    Alignment law: `trajectories[i]` got `scores[i]`; members that failed are in `failures` and in neither list.

    Raises:
        ValueError: the lists differ in length, or a trajectory is of another sample or path.
    """

    index: int
    """Its place in the feed of its path."""
    sample: SpatialSample
    path: Path
    trajectories: tuple[Trajectory, ...]
    scores: tuple[Score, ...]
    failures: tuple[Failure, ...] = ()

    def __post_init__(self) -> None:
        if len(self.trajectories) != len(self.scores):
            raise ValueError(
                f"group {self.index} ({self.path}): {len(self.trajectories)} trajectories, {len(self.scores)} scores"
            )
        for trajectory in self.trajectories:
            if (trajectory.sample_id, trajectory.path) != (self.sample.sample_id, self.path):
                raise ValueError(
                    f"group {self.index} is of {self.sample.sample_id} through {self.path}, but holds a trajectory "
                    f"of {trajectory.sample_id} through {trajectory.path}"
                )

    @property
    def rewards(self) -> list[float]:
        return [score.total for score in self.scores]

    @property
    def min_weight_version(self) -> int:
        """The oldest weights that made a token of it."""
        return min(trajectory.min_weight_version for trajectory in self.trajectories)

    def why_filtered(self, rule: GroupFilterConfig) -> FilterCause | None:
        """Why it cannot teach; None if it can: at least two responses, a mean reward strictly between the rule's
        bounds, and rewards that differ (as in DAPO, arXiv 2503.14476, section 3.2)."""
        if len(self.trajectories) < 2:
            return FilterCause.FAILED
        mean = fmean(self.rewards)
        if mean <= rule.min_mean_reward:
            return FilterCause.LOW
        if mean >= rule.max_mean_reward:
            return FilterCause.HIGH
        is_alike = rule.min_reward_std is not None and stdev(self.rewards) <= rule.min_reward_std
        return FilterCause.ALIKE if is_alike else None
