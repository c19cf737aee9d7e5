"""Reading a camera motion such as "move_right:0.4,rotate_up:5". Strict, as `spatial.grammar` is; never raises."""

from collections.abc import Mapping

from spatial.quantities import read_quantity
from spatial.sample import Unit

MAX_MOVES = 64
"""A motion with more moves than this is not read, which bounds the time that reading takes."""


def read_motion(answer: str) -> Mapping[str, float]:
    """The moves of an answer such as "move_right:0.4,rotate_up:5": metres, and degrees for `rotate_…`.

    Units are converted. The whole answer must be such a list, with each key once; otherwise it has no moves.
    """
    if answer.count(",") >= MAX_MOVES:
        return {}
    moves: dict[str, float] = {}
    for part in answer.split(","):
        key, _, written = part.partition(":")
        key = key.strip()
        value = read_quantity(written, motion_unit(key))
        if value is None or key in moves:
            return {}
        moves[key] = value
    return moves


def motion_unit(key: str) -> Unit:
    """Degrees for a move named `rotate_…`, else metres."""
    return "deg" if key.startswith("rotate") else "m"
