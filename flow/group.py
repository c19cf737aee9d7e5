"""A group: all responses to one prompt, from the feed to an update."""

from dataclasses import dataclass

from flow.score import Failure, Score
from flow.trajectory import Trajectory
from spatial.sample import ReasoningPath, SpatialSample


@dataclass(frozen=True)
class Group:
    """All scored responses to one sample through one path.

    Alignment law: `trajectories[i]` got `scores[i]`; members that failed are only in `failures`.

    Raises:
        ValueError: the lists differ in length, or a trajectory belongs to another sample or path.
    """

    index: int
    """Its position in the feed of its path."""
    sample: SpatialSample
    path: ReasoningPath
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
        """The version of the oldest weights that made one of its tokens."""
        return min(trajectory.min_weight_version for trajectory in self.trajectories)
