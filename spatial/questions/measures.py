"""What is measured on objects: the quantities that kinds of question compare or ask for, and the geometry of pairs.

What the words mean, for objects with centres in the camera frame:

- depth, nearest, closer: along z, the camera's forward axis;
- left, right: by x; above, below: by y; each also by the place in the picture;
- larger: by the longest side of the 3D box; height: of the 3D box; width: its extent along the camera's x axis;
- direction: the clock hour of B for someone who stands at A and faces along z, away from the camera: 12 is +z, 3 is +x;
- distance: between the two centres.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spatial.questions.scene import KnownObject
from spatial.sample import Vector3


@dataclass(frozen=True)
class Quantity:
    """A number in metres that is read off one object, and its words."""

    of: Callable[[KnownObject], float]
    label: str
    """In the brief voice: "z"."""
    name: str
    """Before a list of numbers in the full voice: "z"."""
    phrase: str
    """After an object in the full voice; the number stands for {}: "{} m ahead of the camera"."""
    is_size: bool = False
    """Whether it is a size, which no centre tells. The brief voice writes sizes with two decimals on every path."""

    def written(self, thing: KnownObject, decimals: int) -> float:
        """The number as it is written, never -0.0."""
        return round(self.of(thing), decimals) + 0.0


def across_m(thing: KnownObject) -> float:
    """Extent of its 3D box along the camera's x axis."""
    yaw_rad = math.radians(thing.yaw_deg)
    return _extent_m(thing, math.cos(yaw_rad), math.sin(yaw_rad))


def front_m(thing: KnownObject) -> float:
    """Depth of the side of its 3D box that faces a camera without pitch."""
    yaw_rad = math.radians(thing.yaw_deg)
    return thing.center_m[2] - _extent_m(thing, math.sin(yaw_rad), math.cos(yaw_rad)) / 2


def _extent_m(thing: KnownObject, along_width: float, along_length: float) -> float:
    return abs(along_width) * thing.size_m[0] + abs(along_length) * thing.size_m[2]


X = Quantity(lambda thing: thing.center_m[0], "x", "x", "{} m along x, which counts to the right")
Y = Quantity(lambda thing: thing.center_m[1], "y", "y", "{} m along y, which counts downwards")
DEPTH = Quantity(lambda thing: thing.center_m[2], "z", "z", "{} m ahead of the camera")
LONGEST_SIDE = Quantity(
    lambda thing: max(thing.size_m), "size", "longest side", "{} m along its longest side", is_size=True
)
HEIGHT = Quantity(lambda thing: thing.size_m[1], "height", "height", "{} m high", is_size=True)
WIDTH = Quantity(across_m, "width", "width", "{} m across", is_size=True)


def mean_depth_m(one: KnownObject, other: KnownObject) -> float:
    """The scale of margins: what lies farther away must differ by more."""
    return (one.center_m[2] + other.center_m[2]) / 2


def step_m(one: KnownObject, other: KnownObject) -> Vector3:
    """The way from one centre to the other: right, down, away from the camera."""
    (ax, ay, az), (bx, by, bz) = one.center_m, other.center_m
    return bx - ax, by - ay, bz - az


def step_cm(one: KnownObject, other: KnownObject) -> tuple[int, int, int]:
    """The same, from the centres as they are written with two decimals: what a reader of the chain computes."""
    right, down, far = (
        _hundredths(end) - _hundredths(start) for start, end in zip(one.center_m, other.center_m, strict=True)
    )
    return right, down, far


def clock_hour(right: float, far: float, margin_deg: float) -> int | None:
    """The hour (1 to 12) of a direction, or None when it is not within `margin_deg` of the middle of an hour."""
    degrees = math.degrees(math.atan2(right, far))
    hours = round(degrees / 30)
    return (hours - 1) % 12 + 1 if abs(degrees - 30 * hours) <= margin_deg else None


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom) with area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)


def _hundredths(metres: float) -> int:
    """As `f"{metres:.2f}"` rounds it."""
    return round(round(metres, 2) * 100)
