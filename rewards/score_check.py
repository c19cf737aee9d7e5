"""Checks what a reward of the user's returns, before anything else sees it."""

import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from flow.score import Score

# A sum of parts may exceed 1 by rounding.
_TOLERANCE = 1e-6
_NAME = re.compile(r"[a-z][a-z0-9_]*")
# Names that metrics of a path already have.
_TAKEN = ("reward", "accuracy", "format", "center", "response_tokens")


class ScoreError(ValueError):
    """A reward returned something that is not a score; names the sample, the part and its value."""


def plain_score(given: object, sample_id: str) -> Score:
    """The score that a reward of the user's returned, with every part a plain float, even if it was NumPy's or torch's.

    Raises:
        ScoreError: it is not a `Score`, a part is not a number in [0, 1] (only `center` may be None), or a name in
            `extra` is taken or its value is not a finite number.
    """
    if not isinstance(given, Score):
        raise ScoreError(f"sample {sample_id}: the reward returned {given!r:.200}, not a Score")
    parts = {part.name: getattr(given, part.name) for part in fields(Score) if part.name != "extra"}
    plain: dict[str, Any] = {
        name: None if value is None and name == "center" else _plain_part(value, name, sample_id)
        for name, value in parts.items()
    }
    return Score(**plain, extra=_plain_extra(given.extra, sample_id) if given.extra else {})


def _plain_extra(extra: object, sample_id: str) -> dict[str, float]:
    if not isinstance(extra, Mapping):
        raise ScoreError(f"sample {sample_id}: the reward's extra is {extra!r:.200}; it must map names to numbers")
    plain: dict[str, float] = {}
    for name, value in extra.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _TAKEN:
            raise ScoreError(
                f"sample {sample_id}: the reward's extra has the name {name!r:.200}; use lower-case letters, digits "
                f"and _, and none of {', '.join(_TAKEN)}"
            )
        number = _plain_number(value)
        if not isinstance(number, numbers.Real) or not math.isfinite(number):
            raise ScoreError(
                f"sample {sample_id}: the reward's extra {name} is {value!r:.200}; it must be a finite number"
            )
        plain[name] = float(number)
    return plain


def _plain_number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) in ((), None) else value


def _plain_part(value: Any, name: str, sample_id: str) -> float:
    number = _plain_number(value)
    is_number = isinstance(number, numbers.Real)
    if not is_number or not -_TOLERANCE <= number <= 1 + _TOLERANCE:
        raise ScoreError(f"sample {sample_id}: the reward's {name} is {value!r:.200}; it must be a number in [0, 1]")
    return min(max(float(number), 0.0), 1.0)
