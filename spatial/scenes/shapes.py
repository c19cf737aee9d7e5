"""Where a bundle of rays first meets a solid, in the solid's own frame.

The frame has its origin at the middle of the solid's bounding box and its y axis up. A ray is `origin + t * direction`;
all arrays of one call share a shape, float32. Each function returns t, infinite where the ray misses, and the three
components of the unit outward normal, meaningless where it misses. The camera is outside every solid and above it, so
faces that look down are left out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Hit = tuple[Floats, Floats, Floats, Floats]
Point = tuple[float, float, float]
Rays = tuple[Floats, Floats, Floats]

_INF = np.float32(np.inf)


def hit_sphere(origin: Point, direction: Rays, radius: float, half_height: float) -> Hit:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    a = dx * dx + dy * dy + dz * dz
    b = ox * dx + oy * dy + oz * dz
    c = ox * ox + oy * oy + oz * oz - radius * radius
    spread = b * b - a * c
    t = np.where(spread >= 0, (-b - np.sqrt(np.maximum(spread, 0))) / a, _INF)
    safe = np.where(spread >= 0, t, 0) / radius
    return t, ox / radius + safe * dx, oy / radius + safe * dy, oz / radius + safe * dz


def hit_cube(origin: Point, direction: Rays, radius: float, half_height: float) -> Hit:
    """A box of half-width `radius`: the ray is inside between its last entry into and first exit from three slabs."""
    spans = [_slab(o, d, h) for o, d, h in zip(origin, direction, (radius, half_height, radius), strict=True)]
    near = np.maximum(np.maximum(spans[0][0], spans[1][0]), spans[2][0])
    far = np.minimum(np.minimum(spans[0][1], spans[1][1]), spans[2][1])
    hit = near <= far
    # The face that was entered last looks against the ray.
    nx, ny, nz = (
        np.where(span[0] >= near, -np.sign(d), np.float32(0)) for span, d in zip(spans, direction, strict=True)
    )
    return np.where(hit, near, _INF), nx, ny, nz


def hit_cylinder(origin: Point, direction: Rays, radius: float, half_height: float) -> Hit:
    """An infinite upright cylinder, cut by the slab between floor and lid."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    a = np.maximum(dx * dx + dz * dz, np.float32(1e-12))
    b = ox * dx + oz * dz
    spread = b * b - a * (ox * ox + oz * oz - radius * radius)
    root = np.sqrt(np.maximum(spread, 0))
    lid_near, lid_far = _slab(oy, dy, half_height)
    side_near = (-b - root) / a
    near = np.maximum(side_near, lid_near)
    hit = (spread >= 0) & (near <= np.minimum((-b + root) / a, lid_far))
    on_lid = lid_near > side_near
    zero = np.float32(0)
    nx = np.where(on_lid, zero, (ox + near * dx) / radius)
    nz = np.where(on_lid, zero, (oz + near * dz) / radius)
    return np.where(hit, near, _INF), nx, np.where(on_lid, -np.sign(dy), zero), nz


def hit_cone(origin: Point, direction: Rays, radius: float, half_height: float) -> Hit:
    """The double cone x² + z² = k² (h - y)², kept between its base y = -h and its tip y = h."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    k2 = (radius / (2 * half_height)) ** 2
    below_tip = half_height - oy
    a = dx * dx + dz * dz - k2 * dy * dy
    a = np.where(np.abs(a) < 1e-9, np.float32(1e-9), a)
    b = ox * dx + oz * dz + k2 * below_tip * dy
    c = ox * ox + oz * oz - k2 * below_tip * below_tip
    spread = b * b - a * c
    root = np.sqrt(np.maximum(spread, 0))
    t = np.full_like(a, _INF)
    for candidate in ((-b - root) / a, (-b + root) / a):
        inside = (spread >= 0) & (candidate > 0) & (np.abs(oy + candidate * dy) <= half_height)
        t = np.where(inside, np.minimum(t, candidate), t)
    safe = np.where(np.isfinite(t), t, 0)
    nx, ny, nz = ox + safe * dx, k2 * (below_tip - safe * dy), oz + safe * dz
    length = np.maximum(np.sqrt(nx * nx + ny * ny + nz * nz), np.float32(1e-6))
    return t, nx / length, ny / length, nz / length


def _slab(origin: float, direction: Floats, half: float) -> tuple[Floats, Floats]:
    """When a ray enters and leaves |coordinate| <= half."""
    inverse = 1 / np.where(np.abs(direction) < 1e-9, np.float32(1e-9), direction)
    one, other = (-half - origin) * inverse, (half - origin) * inverse
    return np.minimum(one, other), np.maximum(one, other)


HIT: dict[str, Callable[[Point, Any, float, float], Hit]] = {
    "sphere": hit_sphere,
    "cube": hit_cube,
    "cylinder": hit_cylinder,
    "cone": hit_cone,
}
