"""What comes out of scoring: a `Score`, or a `Failure`, which is never a reward of 0."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """The reward of one response and its parts, each in [0, 1].

    Example: a DTR response with the right answer, right format, and one of two centres found within 0.1 m:
    `Score(total=0.95, accuracy=1.0, format=1.0, center=0.5, center_share=0.05)`.
    """

    total: float
    accuracy: float
    format: float
    center: float | None = None
    """None where the path or the sample has no 3D truth to score."""
    center_share: float = 0.0
    """What of `total` came from the centres; the rest came from accuracy and format."""


@dataclass(frozen=True)
class Failure:
    """Something that could not be rolled out or scored. Counted, retried or left out; never a number in a baseline."""

    stage: str
    """"rollout" or "score"."""
    reason: str
    attempts: int
