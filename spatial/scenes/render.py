"""Pictures of scenes by ray casting in NumPy.

Rays are (x, y, 1) in the camera frame, so a ray's parameter is the depth z. Ground and wall are traced for the whole
image (cheap: their depth depends on the row only), each solid for the pixels of its projected bounding box only.
A first pass, one ray through the middle of each pixel, gives labels and depth; a second sends four rays through the
pixels on edges, so that these are smooth.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spatial.scenes.scene import Scene, Solid
from spatial.scenes.shapes import HIT, Floats

BACKGROUND = -1
# Neighbours that differ by more (of 3.0) lie on two sides of an edge, for instance of two faces of a cube.
_EDGE_CONTRAST = 0.2
_PAINT: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.20, 0.19),
    "green": (0.22, 0.66, 0.30),
    "blue": (0.20, 0.40, 0.88),
    "yellow": (0.96, 0.82, 0.20),
    "purple": (0.58, 0.30, 0.74),
    "orange": (0.97, 0.54, 0.14),
}


@dataclass(frozen=True)
class Render:
    """A picture, with the object and the depth at each of its pixels."""

    image_hw3: NDArray[np.uint8]
    labels_hw: NDArray[np.int8]
    """Index of the solid in `scene.solids`, or `BACKGROUND`."""
    depth_hw: Floats
    """z of the surface, metres, camera frame; infinite where nothing is hit."""
    unoccluded_px: tuple[int, ...]
    """Number of pixels that each solid would have if nothing hid it."""


def render(scene: Scene) -> Render:
    """The picture of a scene, with labels and depth of each pixel's middle."""
    size, view = scene.view.size_px, scene.view
    steps = ((np.arange(size, dtype=np.float32) + 0.5) - size / 2) / view.focal_px
    x, y = steps[None, :], steps[:, None]
    colour, depth = _backdrop(scene, x, y)
    labels = np.full((size, size), BACKGROUND, dtype=np.int8)
    unoccluded = []
    for index, solid in enumerate(scene.solids):
        window = _window(solid, scene)
        hit_depth, shade = _solid(solid, scene, x[:, window[1]], y[window[0]])
        unoccluded.append(int(np.isfinite(hit_depth).sum()))
        _put(index, solid, hit_depth, shade, colour[window], depth[window], labels[window])
    _smooth_edges(scene, steps, labels, colour)
    image = (np.clip(colour, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Render(image, labels, depth, tuple(unoccluded))


def _window(solid: Solid, scene: Scene) -> tuple[slice, slice]:
    """Rows and columns that contain the solid."""
    bounds, size = solid.bounds_px(scene.view), scene.view.size_px
    if bounds is None:
        raise ValueError(f"the {solid.name} reaches behind the camera: every solid of a scene must lie in front of it")
    left, top, right, bottom = bounds
    rows = slice(max(0, math.floor(top)), min(size, math.ceil(bottom)))
    return rows, slice(max(0, math.floor(left)), min(size, math.ceil(right)))


def _put(
    index: int, solid: Solid, hit_depth: Floats, shade: Floats, colour: Floats, depth: Floats, labels: NDArray[np.int8]
) -> None:
    """Paint a solid where it is nearer than what is painted; `colour`, `depth` and `labels` are changed in place."""
    nearer = hit_depth < depth
    np.copyto(depth, hit_depth, where=nearer)
    labels[nearer] = index
    colour[nearer] = shade[nearer][:, None] * np.array(_PAINT[solid.colour], dtype=np.float32)


def _smooth_edges(scene: Scene, steps: Floats, labels: NDArray[np.int8], colour: Floats) -> None:
    """Replace the colour of pixels on edges by the mean of four rays, in place."""
    edge = np.zeros(labels.shape, dtype=bool)
    bright = colour[..., 0] + colour[..., 1] + colour[..., 2]  # much faster than a sum over such a short axis
    for one, other in (
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[1:], np.s_[:-1]),
    ):
        differs = (labels[one] != labels[other]) | (np.abs(bright[one] - bright[other]) > _EDGE_CONTRAST)
        edge[one] |= differs
        edge[other] |= differs
    rows, columns = np.nonzero(edge)
    quarter = 0.25 / scene.view.focal_px
    offsets = np.array([[-quarter, -quarter], [quarter, -quarter], [-quarter, quarter], [quarter, quarter]], np.float32)
    x, y = steps[columns, None] + offsets[:, 0], steps[rows, None] + offsets[:, 1]
    rays, depth = _backdrop(scene, x, y)
    for index, solid in enumerate(scene.solids):
        window = _window(solid, scene)
        near = np.flatnonzero(_within(window[0], rows) & _within(window[1], columns))
        hit_depth, shade = _solid(solid, scene, x[near], y[near])
        some_rays, some_depth = rays[near], depth[near]
        _put(index, solid, hit_depth, shade, some_rays, some_depth, np.empty(some_depth.shape, np.int8))
        rays[near], depth[near] = some_rays, some_depth
    colour[rows, columns] = (rays[:, 0] + rays[:, 1] + rays[:, 2] + rays[:, 3]) / 4


def _within(span: slice, places: NDArray[np.intp]) -> NDArray[np.bool_]:
    return (places >= span.start) & (places < span.stop)


def _solid(solid: Solid, scene: Scene, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Depth of a solid along rays (x, y, 1), and how bright its surface is there (Lambert and a soft sky)."""
    view = scene.view
    center, axes = solid.center_m(view), solid.axes(view)
    ox, oy, oz = (-(axis[0] * center[0] + axis[1] * center[1] + axis[2] * center[2]) for axis in axes)
    dx, dy, dz = (axis[0] * x + axis[1] * y + axis[2] for axis in axes)
    depth, nx, ny, nz = HIT[solid.shape]((ox, oy, oz), (dx, dy, dz), solid.width_m / 2, solid.height_m / 2)
    light = view.rotate(*scene.light)
    lx, ly, lz = (axis[0] * light[0] + axis[1] * light[1] + axis[2] * light[2] for axis in axes)
    lambert = np.maximum(nx * lx + ny * ly + nz * lz, 0)
    return depth, 0.42 + 0.14 * ny + 0.56 * lambert


def _backdrop(scene: Scene, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Colour (…, 3) and depth of ground and wall along rays (x, y, 1); x and y broadcast."""
    view = scene.view
    cos, sin = math.cos(view.pitch_rad), math.sin(view.pitch_rad)
    fall, flat = cos * y + sin, cos - sin * y  # per metre of depth: metres downwards, metres ahead
    ground_z = np.where(fall > 1e-4, view.height_m / np.maximum(fall, np.float32(1e-4)), np.float32(np.inf))
    wall_z = scene.wall_ahead_m / np.maximum(flat, np.float32(1e-4))
    on_wall = wall_z < ground_z
    z = np.minimum(wall_z, ground_z)
    right, ahead, up = z * x, z * flat, np.maximum(view.height_m - z * fall, 0)
    light = np.where(on_wall, _wall(scene, up), _ground(scene, right, ahead) * _shadows(scene, right, ahead))
    # Darker where the wall meets the ground, which tells the two planes apart.
    corner = np.where(on_wall, up, scene.wall_ahead_m - ahead) / scene.wall_ahead_m
    light *= 0.80 + 0.20 * np.minimum(corner * 5, 1)
    warm = np.array([1.0, 0.97 - 0.03 * scene.hue, 0.88 + 0.12 * scene.hue], dtype=np.float32)
    cool = np.array([0.90 + 0.08 * scene.hue, 0.95, 1.0 - 0.08 * scene.hue], dtype=np.float32)
    colour = light[..., None] * np.where(on_wall[..., None], cool, warm)
    return colour, np.broadcast_to(z, light.shape).copy()


def _ground(scene: Scene, right: Floats, ahead: Floats) -> Floats:
    """Brightness of the ground at (right, ahead): a soft checkered cloth on the table, boards in the room."""
    if scene.family == "tabletop":
        side = math.pi / 0.14
        squares = np.sin(right * side) * np.sin(ahead * side)
        return 0.74 + 0.07 * np.clip(squares * 3, -1, 1)
    board = right / 0.30
    seam = np.abs(board - np.round(board))
    tone = np.sin(np.round(board) * 12.9 + 1.7)
    return (0.66 + 0.045 * tone) * (0.86 + 0.14 * np.minimum(seam * 14, 1))


def _wall(scene: Scene, up: Floats) -> Floats:
    """Brightness of the wall, `up` m above the ground: plain behind the table, with a skirting board in the room."""
    if scene.family == "tabletop":
        return 0.62 + 0.10 * np.minimum(up, 1)
    return np.where(up < 0.16, np.float32(0.95), 0.80 + 0.03 * np.minimum(up, 3))


def _shadows(scene: Scene, right: Floats, ahead: Floats) -> Floats:
    """1 in the light, less in the soft shadow of a solid: a streak from its foot away from the light."""
    light_right, light_up, light_ahead = scene.light
    lit = np.ones(np.broadcast_shapes(right.shape, ahead.shape), dtype=np.float32)
    for solid in scene.solids:
        # How far the top's shadow falls; a solid that narrows upwards has a shorter one.
        reach = solid.height_m / light_up * (0.5 if solid.shape in ("cone", "sphere") else 0.7)
        run_right, run_ahead = -light_right * reach, -light_ahead * reach
        to_right, to_ahead = right - solid.right_m, ahead - solid.ahead_m
        along = (to_right * run_right + to_ahead * run_ahead) / max(run_right**2 + run_ahead**2, 1e-9)
        along = np.clip(along, 0, 1)
        off_right, off_ahead = to_right - along * run_right, to_ahead - along * run_ahead
        distance2 = off_right * off_right + off_ahead * off_ahead
        radius = solid.footprint_radius_m
        shadow = np.clip(1.5 - distance2 / (radius * radius), 0, 1)
        lit *= 1 - (0.45 - 0.15 * along) * shadow
    return lit
