"""A scene: upright solids on a ground plane, seen by a pinhole camera that looks down at them.

Two frames. Camera: +x right, +y down, +z forward. Ground: (right, up, ahead) with its origin on the ground below the
camera; `right` is the camera's x, `up` is against gravity, `ahead` is the camera's forward laid flat. Metres in both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from spatial.sample import Camera, Vector3
from spatial.scenes.config import Family

Shape = Literal["sphere", "cube", "cylinder", "cone"]
Colour = Literal["red", "green", "blue", "yellow", "purple", "orange"]
SHAPES: tuple[Shape, ...] = ("sphere", "cube", "cylinder", "cone")
COLOURS: tuple[Colour, ...] = ("red", "green", "blue", "yellow", "purple", "orange")


@dataclass(frozen=True)
class View:
    """A camera without roll, `height_m` above the ground, looking down by `pitch_rad`; square image of `size_px`."""

    height_m: float
    pitch_rad: float
    focal_px: float
    size_px: int

    @cached_property
    def camera(self) -> Camera:
        middle = self.size_px / 2
        return Camera(fx_px=self.focal_px, fy_px=self.focal_px, cx_px=middle, cy_px=middle)

    def rotate(self, right: float, up: float, ahead: float) -> Vector3:
        """A direction of the ground frame, in the camera frame."""
        cos, sin = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        return right, -cos * up - sin * ahead, -sin * up + cos * ahead

    def to_camera(self, right_m: float, up_m: float, ahead_m: float) -> Vector3:
        """A point of the ground frame, in the camera frame."""
        return self.rotate(right_m, up_m - self.height_m, ahead_m)

    def project(self, point_m: Vector3) -> tuple[float, float]:
        """The pixel (x, y) where a camera-frame point with z > 0 appears."""
        pixel = self.camera.project(point_m)
        assert pixel is not None, f"{point_m} is behind the camera"
        return pixel

    def ground_at(self, pixel_x: float, pixel_y: float) -> tuple[float, float] | None:
        """(right, ahead) of the ground seen at a pixel, metres; None above the horizon."""
        x, y = (pixel_x - self.size_px / 2) / self.focal_px, (pixel_y - self.size_px / 2) / self.focal_px
        cos, sin = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        fall = cos * y + sin
        if fall <= 0:
            return None
        z = self.height_m / fall
        return z * x, z * (cos - sin * y)


@dataclass(frozen=True)
class Solid:
    """An upright solid that stands on the ground; a cube may be turned about the vertical by `yaw_rad`."""

    shape: Shape
    colour: Colour
    width_m: float
    height_m: float
    right_m: float
    ahead_m: float
    yaw_rad: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def footprint_radius_m(self) -> float:
        """Radius of the smallest circle on the ground around it."""
        return self.width_m / 2 * (math.sqrt(2) if self.shape == "cube" else 1.0)

    def axes(self, view: View) -> tuple[Vector3, Vector3, Vector3]:
        """Its own right, up and ahead as unit vectors of the camera frame."""
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return view.rotate(cos, 0.0, sin), view.rotate(0.0, 1.0, 0.0), view.rotate(-sin, 0.0, cos)

    def center_m(self, view: View) -> Vector3:
        """The middle of its bounding box, camera frame."""
        return view.to_camera(self.right_m, self.height_m / 2, self.ahead_m)

    def bounds_px(self, view: View) -> tuple[float, float, float, float] | None:
        """A box (left, top, right, bottom) that contains its projection; None when it reaches behind the camera."""
        center, (side, up, front) = self.center_m(view), self.axes(view)
        corners: list[Vector3] = []
        for i in (-0.5, 0.5):
            for j in (-0.5, 0.5):
                for k in (-0.5, 0.5):
                    a, b, c = i * self.width_m, j * self.height_m, k * self.width_m
                    x, y, z = (center[n] + a * side[n] + b * up[n] + c * front[n] for n in range(3))
                    corners.append((x, y, z))
        if min(z for _, _, z in corners) < 0.05:
            return None
        xs, ys = zip(*(view.project(corner) for corner in corners), strict=True)
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True)
class Scene:
    """A scene to render."""

    family: Family
    view: View
    solids: tuple[Solid, ...]
    light: Vector3
    """Unit vector towards the light, ground frame (right, up, ahead)."""
    wall_ahead_m: float
    """Distance of the back wall along `ahead`."""
    hue: float
    """0 to 1: shifts the tint of ground and wall."""


@dataclass(frozen=True)
class ObjectTruth:
    """What is true of one solid in its picture."""

    name: str
    """Colour and shape ("red cube")."""
    shape: Shape
    center_m: Vector3
    """Middle of its bounding box, camera frame."""
    size_m: Vector3
    """Width, height, length of its bounding box."""
    yaw_deg: float
    """Turn about the vertical; 0 for round solids."""
    center_px: tuple[float, float]
    """Where its centre projects to."""
    box_xyxy_px: tuple[float, float, float, float]
    """Tight around its visible pixels: left and top inclusive, right and bottom exclusive."""
    visible_px: int
    """Number of its pixels in the picture."""
    visible_share: float
    """`visible_px` over the number of pixels that it would have if nothing hid it."""

    @property
    def category(self) -> str:
        return self.shape


@dataclass(frozen=True)
class SceneTruth:
    """What is true of a scene in its picture: a `KnownScene`."""

    objects: tuple[ObjectTruth, ...]
    """From left to right in the picture."""
    size_px: tuple[int, int]
    """Width and height of the picture."""
    uncountable: frozenset[str] = frozenset()
    vocabulary: tuple[Sequence[str], ...] = (COLOURS, SHAPES)
