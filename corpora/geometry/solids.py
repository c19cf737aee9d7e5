"""Boxes in any orientation: where they appear in a picture, and the extent and yaw of an upright one.

Everything is in the camera frame (+x right, +y down, +z forward), metres.
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from spatial.sample import Camera, Vector3

Box = tuple[float, float, float, float]
NEAR_M = 0.05
"""Points nearer than this along the camera's forward axis count as behind the camera."""
_NUMERIC_SLACK = 0.01


@dataclass(frozen=True, eq=False)
class Solid:
    """A box in space."""

    center_m: Vector3
    size_m: Vector3
    """Extents along the box's own axes."""
    rotation: np.ndarray
    """3 × 3; the columns are the box's axes as unit vectors in the camera frame."""

    @property
    def corners_m(self) -> np.ndarray:
        """The corners as an 8 × 3 array."""
        signs = np.array(list(product((-0.5, 0.5), repeat=3)))
        return np.array(self.center_m) + (signs * self.size_m) @ self.rotation.T


def is_rotation(matrix: np.ndarray) -> bool:
    """Whether a 3 × 3 matrix is a rotation, within 1 %."""
    is_bounded = bool(np.abs(matrix).max() <= 1.0 + _NUMERIC_SLACK)
    return is_bounded and np.allclose(matrix @ matrix.T, np.eye(3), atol=_NUMERIC_SLACK) and np.linalg.det(matrix) > 0


def projected_box(solid: Solid, camera: Camera) -> Box | None:
    """The 2D box (left, top, right, bottom) in pixels around its corners; None: it reaches behind the camera.

    The 2D box may extend beyond the image.
    """
    if not solid.corners_m[:, 2].min() >= NEAR_M:
        return None
    pixels = [pixel for x, y, z in solid.corners_m.tolist() if (pixel := camera.project((x, y, z))) is not None]
    across, down = zip(*pixels, strict=True)
    return min(across), min(down), max(across), max(down)


def part_in_view(box: Box, width_px: int, height_px: int) -> tuple[Box, float] | None:
    """The part of a 2D box within an image, and its share of the box's area; None: there is none."""
    left, top, right, bottom = box
    seen = max(0.0, left), max(0.0, top), min(float(width_px), right), min(float(height_px), bottom)
    seen_width, seen_height = seen[2] - seen[0], seen[3] - seen[1]
    if not (seen_width > 0 and seen_height > 0):
        return None
    return seen, seen_width / (right - left) * (seen_height / (bottom - top))


def nearest_axis(solid: Solid, direction: np.ndarray) -> tuple[int, float]:
    """The axis of a box that is nearest to a direction (unit vector, of either sign), and the angle in degrees."""
    cosines = np.abs(solid.rotation.T @ direction)
    axis = int(cosines.argmax())
    return axis, math.degrees(math.acos(min(1.0, float(cosines[axis]))))


def upright_extent(solid: Solid, vertical: int, max_tilt_deg: float) -> tuple[Vector3, float] | None:
    """Width, height and length of an upright box, and its yaw in degrees.

    The yaw is the angle of the width about the vertical: at 0 the width lies along the camera's x axis, at 90 it points
    away from the camera. A box has no front, so its width is defined as the horizontal extent that lies more across the
    view. Then -45 <= yaw <= 45, and boxes that look the same are written the same.

    Args:
        vertical: the index of the axis that is (about) along gravity.
        max_tilt_deg: largest angle between that axis and the camera's y axis.

    Returns:
        None if the angle is larger: height and length cannot be told apart in the picture.
    """
    down = solid.rotation[:, vertical] * (1.0 if solid.rotation[1, vertical] >= 0 else -1.0)
    if math.degrees(math.acos(min(1.0, float(down[1])))) > max_tilt_deg:
        return None
    # The camera's forward axis projected onto the ground, and the axis to its right.
    ahead = np.cross([1.0, 0.0, 0.0], down)
    right = np.cross(down, ahead)
    one, other = (axis for axis in range(3) if axis != vertical)
    width, length = (one, other) if _across(solid, one, right) >= _across(solid, other, right) else (other, one)
    along = solid.rotation[:, width]
    yaw_deg = math.degrees(math.atan2(float(along @ ahead), float(along @ right)))
    yaw_deg -= 180.0 * math.ceil(yaw_deg / 180.0 - 0.5)
    return (solid.size_m[width], solid.size_m[vertical], solid.size_m[length]), yaw_deg


def _across(solid: Solid, axis: int, right: np.ndarray) -> float:
    return abs(float(solid.rotation[:, axis] @ right))
