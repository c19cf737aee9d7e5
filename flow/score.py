"""The result of scoring: a `Score`, or a `Failure`, which is never a reward of 0."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Score:
    """The reward of one response and its parts, each a plain float in [0, 1].

    `rewards.score_check` ensures that for rewards of the user's. Only `released_code`, which repeats the faults of the
    released reward, may exceed 1.

    Example: a DTR response with the right answer, right format, and one of two centres found within 0.1 m:
    `Score(total=0.95, accuracy=1.0, format=1.0, center=0.5, center_share=0.05)`.
    """

    total: float
    accuracy: float
    format: float
    center: float | None = None
    """None if the path or the sample has no 3D truth to score."""
    center_share: float = 0.0
    """The share of `total` that came from the centres; the rest came from accuracy and format."""
    extra: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Other measurements of a reward of the user's, such as {"num_steps": 4}: any finite numbers. They are not trained
    on. Their means over the responses that have them are metrics of the path ("lor/num_steps_mean")."""


@dataclass(frozen=True)
class Failure:
    """A response that could not be rolled out or scored. Counted and perhaps retried; never a number in a baseline."""

    stage: Literal["rollout", "score"]
    reason: str
    attempts: int
    by_deadline: bool = False
    """Whether it failed because an answer did not come in time."""
