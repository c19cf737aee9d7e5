"""Cameras, poses and depth maps as data sets write them: matrices as nested lists, 16-bit images."""

import io
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import BeforeValidator, Field, ValidationError

from corpora.formats.unpickle import PickledArray
from corpora.geometry.solids import is_rotation
from corpora.rows import RowError
from spatial.images import ImageStore
from spatial.sample import Camera, DepthRef, ImageRef, Vector3

MAX_DEPTH_PIXELS = 2**26
"""A larger depth map is refused before it is decoded."""


def _to_list(value: Any) -> Any:
    """A tuple or an array as a list, which strict pydantic requires."""
    if isinstance(value, PickledArray):
        return value.values.tolist()
    return list(value) if isinstance(value, tuple) else value


Coordinate = Annotated[float, Field(ge=-1e4, le=1e4)]
Side = Annotated[float, Field(gt=0, le=1e3)]
Triple = Annotated[list[Coordinate], Field(min_length=3, max_length=3), BeforeValidator(_to_list)]
Sides = Annotated[list[Side], Field(min_length=3, max_length=3), BeforeValidator(_to_list)]
Numbers = Annotated[list[float], BeforeValidator(_to_list)]
Matrix = Annotated[
    list[Annotated[Numbers, Field(min_length=3, max_length=4)]],
    Field(min_length=3, max_length=4),
    BeforeValidator(_to_list),
]
"""3 × 3, or 4 × 4 in homogeneous coordinates (3 × 4 without the last row)."""
Integers = Annotated[list[int], BeforeValidator(_to_list)]


def camera_of(matrix: Matrix, field: str) -> Camera:
    """
    Raises:
        RowError: it is not a camera matrix.
    """
    (fx, _, cx), (_, fy, cy) = matrix[0][:3], matrix[1][:3]
    try:
        return Camera(fx_px=fx, fy_px=fy, cx_px=cx, cy_px=cy)
    except ValidationError as error:
        raise RowError(field, matrix, f"no camera matrix: {error.errors()[0]['msg']}") from error


def pose_of(matrix: Matrix, field: str) -> np.ndarray:
    """The pose as a 4 × 4 matrix.

    Raises:
        RowError: it is not a rigid motion.
    """
    pose = np.eye(4)
    if len(matrix[0]) != 4 or len({len(row) for row in matrix}) != 1:
        raise RowError(field, matrix, "give a 4x4 matrix")
    pose[: len(matrix)] = matrix
    if not is_rotation(pose[:3, :3]) or not np.array_equal(pose[3], [0, 0, 0, 1]) or np.abs(pose).max() > 1e6:
        raise RowError(field, matrix, "no rigid motion: give a rotation and a translation in metres")
    return pose


def rotation_of(matrix: Matrix, field: str) -> np.ndarray:
    """The rotation as a 3 × 3 matrix.

    Raises:
        RowError: it is not a rotation.
    """
    rotation = np.array([row[:3] for row in matrix[:3]])
    if not is_rotation(rotation):
        raise RowError(field, matrix, "no rotation: give unit vectors at right angles")
    return rotation


def vector(values: list[float]) -> Vector3:
    """Three numbers as a tuple, as in a sample."""
    x, y, z = values
    return x, y, z


def put_depth(
    images: ImageStore,
    data: bytes,
    field: str,
    metres_per_level: float,
    sensor: Camera,
    picture: tuple[ImageRef, Camera],
) -> DepthRef:
    """Store a depth map at the size of its image; each pixel gets the depth of the nearest pixel of the sensor.

    Args:
        data: a 16-bit PNG or PGM file; level 0 means unknown.
        sensor: the camera of the depth map, at the position and orientation of the image's camera.
        picture: the image and its camera.

    Raises:
        RowError: the file cannot be read, or is not a depth map.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "PPM")) as file:
            if file.width * file.height > MAX_DEPTH_PIXELS:
                raise RowError(field, f"{file.width}x{file.height}", f"more than {MAX_DEPTH_PIXELS} pixels")
            if not file.mode.startswith("I"):
                raise RowError(field, file.mode, "no depth map: give one channel of 16 bits")
            levels = np.asarray(file, dtype=np.float64)
    except RowError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RowError(field, f"{len(data)} bytes", f"no readable depth map: {error}") from error
    image, camera = picture
    rows = _nearest(image.height_px, camera.fy_px, camera.cy_px, sensor.fy_px, sensor.cy_px)
    columns = _nearest(image.width_px, camera.fx_px, camera.cx_px, sensor.fx_px, sensor.cx_px)
    height, width = levels.shape
    is_inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None, :]
    found = levels[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)[None, :]]
    return images.put_depth(np.where(is_inside, found, 0.0) * metres_per_level, metres_per_level)


def _nearest(
    length_px: int, focal_px: float, middle_px: float, other_focal_px: float, other_middle_px: float
) -> np.ndarray:
    """For each pixel along a side, the pixel of another camera in the same direction; it may lie outside its image."""
    # In both cameras the centre of a pixel is half a pixel from its corner.
    middles = (np.arange(length_px) + 0.5 - middle_px) * (other_focal_px / focal_px) + other_middle_px
    return np.floor(np.clip(middles, -1.0, float(2**31))).astype(np.int64)
