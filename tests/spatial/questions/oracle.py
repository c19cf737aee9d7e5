"""What the kinds of question mean, said a second time: what tests hold the program's answers against.

A new kind that compares or measures is said here in a line.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from spatial.questions.measures import across_m
from spatial.questions.scene import KnownObject

CENTRE_AXIS: Mapping[str, int] = {
    "left_right": 0,
    "leftmost": 0,
    "above_below": 1,
    "closer_to_camera": 2,
    "nearest": 2,
    "depth": 2,
}
"""Kinds whose values are a coordinate of the centre."""
_SIZES: Mapping[str, Callable[[KnownObject], float]] = {
    "larger": lambda thing: math.prod(thing.size_m),
    "height": lambda thing: thing.size_m[1],
    "width": across_m,
}
"""Kinds whose values are a size, which no centre tells."""
_MOST_WINS = {"larger"}
LABELS: Mapping[str, str] = {"depth": "z", "height": "height"}
"""What a brief chain calls the number that is asked for."""


def exact_value(kind: str, thing: KnownObject) -> float:
    """What the kind compares or asks for."""
    return thing.center_m[CENTRE_AXIS[kind]] if kind in CENTRE_AXIS else _SIZES[kind](thing)


def winner(kind: str, values: Sequence[float]) -> int:
    """The index of the object that a comparison names, or that is left of or above the other."""
    best = max(values) if kind in _MOST_WINS else min(values)
    assert list(values).count(best) == 1
    return list(values).index(best)
