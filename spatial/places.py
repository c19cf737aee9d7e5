"""How answers write places, and how they are read: lists of named points in 3D, boxes in 3D, boxes in the image.

::

    places   red cube 0.02,1.06,2.03; blue cone -0.71,0.88,3.40        metres, camera frame
    box_3d   a line of a detect block with size and yaw (`spatial.grammar`)
    box_2d   [500,203,609,375]                                          thousandths of the image's sides

The readers are strict, as `spatial.grammar` is, and never raise.
"""

import re
from collections.abc import Mapping, Sequence

from spatial.grammar import Box3D, decimals, find_boxes, read_box, read_vector
from spatial.sample import Vector3

MAX_PLACES = 64
"""A list with more places than this is not read, which bounds the time that reading takes."""

_BOX_2D = re.compile(r"\[\s*+([0-9]{1,4})\s*+,\s*+([0-9]{1,4})\s*+,\s*+([0-9]{1,4})\s*+,\s*+([0-9]{1,4})\s*+\]")


def format_places(centers_m: Mapping[str, Vector3]) -> str:
    """Named points, in order."""
    return "; ".join(f"{name} {decimals(*center_m)}" for name, center_m in centers_m.items())


def read_places(text: str) -> dict[str, Vector3]:
    """Points by name; none unless the whole text is such a list, with each name once."""
    places: dict[str, Vector3] = {}
    parts = text.split(";", maxsplit=MAX_PLACES)
    for part in parts:
        name, _, written = part.strip().rpartition(" ")
        center_m = read_vector(written)
        if not name.strip() or center_m is None or name.strip() in places or len(parts) > MAX_PLACES:
            return {}
        places[name.strip()] = center_m
    return places


def read_box_3d(text: str) -> Box3D | None:
    """The one box that makes up the whole text."""
    boxes = find_boxes(text.strip())
    is_whole = len(boxes) == 1 and (boxes[0].start, boxes[0].end) == (0, len(text.strip()))
    return read_box(boxes[0]) if is_whole else None


def format_box_2d(box: Sequence[int]) -> str:
    """Left, top, right, bottom."""
    return f"[{','.join(map(str, box))}]"


def read_box_2d(text: str) -> tuple[int, ...] | None:
    """Left, top, right, bottom, or None."""
    match = _BOX_2D.fullmatch(text.strip())
    return None if match is None else tuple(map(int, match.groups()))
