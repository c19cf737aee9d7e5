"""How correct a place is: points and boxes in 3D, boxes in an image.

A point is scored as a number is (`rewards.accuracy.number_score`), with the distance in place of the difference and the
distance from the camera in place of the number. Boxes in an image are scored by intersection over union.
"""

import math
from collections.abc import Mapping, Sequence

from rewards.center import distance_m
from spatial.grammar import Box3D
from spatial.sample import Box2DAnswer, Box3DAnswer, PlacesAnswer, Vector3

POINT_TOLERANCE = 0.1
"""A point in 3D counts as right within this share of the true point's distance from the camera."""
SIZE_TOLERANCE = 0.25
"""A size counts as right within this share of the truth."""
YAW_TOLERANCE_DEG = 30.0
BOX_IOU = 0.5
"""A box in an image counts as right at this intersection over union or more (the field's AP50)."""

# A value that misses a decimal bound only because of binary rounding meets it.
_ROUNDING = 1e-9


def point_score(predicted_m: Sequence[float] | None, true_m: Sequence[float]) -> float:
    """`exp(-2·|p−g| / (|g| + 0.01))`, lengths of vectors in metres; 0 for no prediction."""
    if predicted_m is None:
        return 0.0
    return math.exp(-2.0 * distance_m(predicted_m, true_m) / (math.hypot(*true_m) + 0.01))


def is_near_point(predicted_m: Vector3 | None, true_m: Vector3) -> bool:
    """Whether a point counts as right (`POINT_TOLERANCE`)."""
    return predicted_m is not None and distance_m(predicted_m, true_m) <= _bound(POINT_TOLERANCE * math.hypot(*true_m))


def places_score(predicted_m: Mapping[str, Vector3], truth: PlacesAnswer) -> float:
    """The mean score of the named points; a missed name costs as much as an invented one."""
    found = math.fsum(point_score(predicted_m.get(name), true_m) for name, true_m in truth.centers_m.items())
    return found / max(len(predicted_m), len(truth.centers_m))


def are_right_places(predicted_m: Mapping[str, Vector3], truth: PlacesAnswer) -> bool:
    """Whether the names are exactly the true ones, each with a point that counts as right."""
    return predicted_m.keys() == truth.centers_m.keys() and all(
        is_near_point(predicted_m[name], true_m) for name, true_m in truth.centers_m.items()
    )


def box_3d_score(predicted: Box3D | None, truth: Box3DAnswer) -> float:
    """The mean of the scores of centre, size and heading; 0 for an incomplete box."""
    if predicted is None or predicted.size_m is None or predicted.yaw_deg is None:
        return 0.0
    heading = 1.0 - _turn_deg(predicted.yaw_deg, truth.yaw_deg) / 90.0
    return (
        point_score(predicted.center_m, truth.center_m) + point_score(predicted.size_m, truth.size_m) + heading
    ) / 3.0


def is_right_box_3d(predicted: Box3D | None, truth: Box3DAnswer) -> bool:
    """Whether centre, each size and heading are within their tolerances."""
    if predicted is None or predicted.size_m is None or predicted.yaw_deg is None:
        return False
    sizes = zip(predicted.size_m, truth.size_m, strict=True)
    return (
        is_near_point(predicted.center_m, truth.center_m)
        and all(abs(size - true) <= _bound(SIZE_TOLERANCE * true) for size, true in sizes)
        and _turn_deg(predicted.yaw_deg, truth.yaw_deg) <= YAW_TOLERANCE_DEG
    )


def intersection_over_union(predicted: Sequence[float] | None, truth: Box2DAnswer) -> float:
    """Shared area over joint area in [0, 1]; 0 for no prediction or an empty one."""
    if predicted is None:
        return 0.0
    left, top, right, bottom = predicted
    true_left, true_top, true_right, true_bottom = truth.box_xyxy
    width = min(right, true_right) - max(left, true_left)
    height = min(bottom, true_bottom) - max(top, true_top)
    if right <= left or bottom <= top or width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    true_area = (true_right - true_left) * (true_bottom - true_top)
    return shared / ((right - left) * (bottom - top) + true_area - shared)


def _turn_deg(one: float, other: float) -> float:
    """The angle between two headings of a box, 0 to 90: half a turn changes nothing."""
    apart = abs(one - other) % 180.0
    return min(apart, 180.0 - apart)


def _bound(limit: float) -> float:
    return limit * (1.0 + _ROUNDING)
