"""The shape of a sample's region. Learner and engine both use this, so they agree."""

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw

from spatial.sample import ImageRef, Region
from vlm.hub.region_inputs import Geometry, from_run_lengths, overlap
from vlm.regions import relative_box


def geometry(region: Region, image: ImageRef) -> Geometry:
    """A region's shape, independent of how the image is resized later."""
    box = relative_box(region, image)
    if region.polygon_px is not None:
        return ("mask", *box, image.height_px, image.width_px, *_run_lengths(_fill(region.polygon_px, image)))
    if region.rle_counts is not None:
        return ("mask", *box, image.height_px, image.width_px, *region.rle_counts)
    return ("box", *box)


def pixels_inside(shape: Geometry, height_px: int, width_px: int) -> Bool[np.ndarray, "height width"]:
    """The pixels of the image that the region touches."""
    kind, left, top, right, bottom, *mask = shape
    if kind == "mask":
        height, width, *counts = mask
        return from_run_lengths(counts, height, width)
    return np.outer(overlap(top, bottom, height_px) > 0, overlap(left, right, width_px) > 0)


def _fill(polygon_px: tuple[tuple[float, float], ...], image: ImageRef) -> Bool[np.ndarray, "height width"]:
    canvas = Image.new("1", (image.width_px, image.height_px))
    ImageDraw.Draw(canvas).polygon([(x, y) for x, y in polygon_px], fill=1)
    return np.asarray(canvas)


def _run_lengths(filled: Bool[np.ndarray, "height width"]) -> tuple[int, ...]:
    """COCO's run-length encoding: column by column, alternating run lengths outside and inside, outside first."""
    flat = filled.flatten(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], changes, [flat.size]])
    lengths = np.diff(bounds).tolist()
    return (0, *lengths) if flat[0] else tuple(lengths)
