"""What comes out of scoring: a `Score`, or a `Failure`, which is never a reward of 0."""

import numbers
from dataclasses import dataclass, fields
from typing import Any

# A sum of parts may pass 1 by rounding.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Score:
    """The reward of one response and its parts, each a plain float in [0, 1].

    `plain_score` sees to that for rewards of the user's. `released_code` alone, which repeats the faults of the
    released reward, may pass 1.

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
    by_deadline: bool = False
    """Somebody did not answer in time."""


class ScoreError(ValueError):
    """What a reward gave is no score; names the sample, the part and its value."""


def plain_score(given: object, sample_id: str) -> Score:
    """What a reward of the user's gave, with every part a plain float: NumPy's and torch's numbers become such.

    Raises:
        ScoreError: it is no `Score`, or a part of it is no number in [0, 1]. None is allowed for `center` alone.
    """
    if not isinstance(given, Score):
        raise ScoreError(f"sample {sample_id}: the reward gave {given!r:.200}, no Score")
    parts = {field.name: getattr(given, field.name) for field in fields(Score)}
    plain: dict[str, Any] = {
        name: None if value is None and name == "center" else _plain_part(value, name, sample_id)
        for name, value in parts.items()
    }
    return Score(**plain)


def _plain_part(value: Any, name: str, sample_id: str) -> float:
    number: Any = value.item() if hasattr(value, "item") and getattr(value, "shape", None) in ((), None) else value
    is_number = isinstance(number, numbers.Real)
    if not is_number or not -_TOLERANCE <= number <= 1 + _TOLERANCE:
        raise ScoreError(f"sample {sample_id}: the reward's {name} is {value!r:.200}, and must be a number in [0, 1]")
    return min(max(float(number), 0.0), 1.0)
