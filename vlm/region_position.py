"""Features of where a region's pixels are in 3D, for samples with depth.

A linear map of these features, added to a region's pooled features, is the same as a position embedding added to each
pixel's feature before pooling: pooling is linear, so the mean of the codes is the code of the mean.
"""

import math

import numpy as np
from jaxtyping import Bool, Float

from spatial.sample import Camera
from vlm.hub.region_inputs import NUM_POSITION_FEATURES

_WAVELENGTHS_M = (16.0, 8.0, 4.0, 2.0, 1.0, 0.5)


def back_project(
    depth_m: Float[np.ndarray, "height width"], camera: Camera | None
) -> Float[np.ndarray, "height width 3"]:
    """The centre of each pixel in the camera frame, in the unit of `depth_m`.

    Without a camera, a pinhole is assumed: its focal length is the longer side, its axis goes through the middle.
    """
    height, width = depth_m.shape
    if camera is None:
        side = float(max(height, width))
        camera = Camera(fx_px=side, fy_px=side, cx_px=width / 2, cy_px=height / 2)
    right = (np.arange(width) + 0.5 - camera.cx_px) / camera.fx_px
    down = (np.arange(height) + 0.5 - camera.cy_px) / camera.fy_px
    return np.stack([right[None, :] * depth_m, down[:, None] * depth_m, depth_m], axis=-1)


def position_features(
    points: Float[np.ndarray, "height width 3"], inside: Bool[np.ndarray, "height width"]
) -> tuple[float, ...]:
    """The mean code of the region's pixels with known depth; all zeros if there are none.

    Args:
        points: from `back_project`; NaN where depth is unknown.
        inside: the region's pixels.
    """
    known = points[inside & np.isfinite(points[..., 2])]
    if len(known) == 0:
        return (0.0,) * NUM_POSITION_FEATURES
    angles = (known[:, :, None] * (2 * math.pi / np.array(_WAVELENGTHS_M))).reshape(len(known), -1)
    code = np.concatenate([known, np.sin(angles), np.cos(angles)], axis=1).mean(axis=0)
    return (1.0, *map(float, code))
