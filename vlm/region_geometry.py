"""Where a region lies on the grid of vision tokens. Learner and engine both come through here, so they agree."""

from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw

from spatial.sample import ImageRef, Region
from vlm.regions import relative_box

Geometry = tuple[Any, ...]
"""("box", left, top, right, bottom), sides as shares of the image's; or ("mask", those four, height_px, width_px,
*counts), the counts of COCO's run-length encoding. Plain numbers in a tuple: it becomes a part of a cache's key."""


def geometry(region: Region, image: ImageRef) -> Geometry:
    """A region's shape, independent of how the image will be resized."""
    box = relative_box(region, image)
    if region.polygon_px is not None:
        return ("mask", *box, image.height_px, image.width_px, *_run_lengths(_fill(region.polygon_px, image)))
    if region.rle_counts is not None:
        return ("mask", *box, image.height_px, image.width_px, *region.rle_counts)
    return ("box", *box)


def box_of(shape: Geometry) -> tuple[float, float, float, float]:
    """Left, top, right, bottom as shares of the image's sides."""
    _, left, top, right, bottom, *_ = shape
    return left, top, right, bottom


def coverage(shape: Geometry, num_rows: int, num_columns: int) -> Float[np.ndarray, " cells"]:
    """How the region is spread over a grid of cells laid over the image: shares of its area, row by row, sum 1.

    Raises:
        ValueError: it has no area on the grid.
    """
    kind, left, top, right, bottom, *mask = shape
    if kind == "box":
        spread = np.outer(_overlap(top, bottom, num_rows), _overlap(left, right, num_columns))
    else:
        height, width, *counts = mask
        filled = _from_run_lengths(counts, height, width).astype(np.float64)
        spread = _resample(height, num_rows) @ filled @ _resample(width, num_columns).T
    if not spread.sum() > 0:
        raise ValueError(f"a region with box {box_of(shape)} has no area on a grid of {num_rows} × {num_columns} cells")
    return (spread / spread.sum()).astype(np.float32).reshape(-1)


def pixels_inside(shape: Geometry, height_px: int, width_px: int) -> Bool[np.ndarray, "height width"]:
    """The pixels of the image that the region touches."""
    kind, left, top, right, bottom, *mask = shape
    if kind == "mask":
        height, width, *counts = mask
        return _from_run_lengths(counts, height, width)
    return np.outer(_overlap(top, bottom, height_px) > 0, _overlap(left, right, width_px) > 0)


def _overlap(start: float, end: float, num_cells: int) -> Float[np.ndarray, " cells"]:
    """Length of [start, end] within each of `num_cells` equal parts of [0, 1]."""
    edges = np.linspace(0.0, 1.0, num_cells + 1)
    return np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0.0, None)


def _resample(num_pixels: int, num_cells: int) -> Float[np.ndarray, "cells pixels"]:
    """How much of each pixel lies in each cell, along one side."""
    edges = np.linspace(0.0, 1.0, num_pixels + 1)
    return np.stack([_overlap(start, end, num_cells) for start, end in pairwise(edges)], axis=1)


def _fill(polygon_px: tuple[tuple[float, float], ...], image: ImageRef) -> Bool[np.ndarray, "height width"]:
    canvas = Image.new("1", (image.width_px, image.height_px))
    ImageDraw.Draw(canvas).polygon([(x, y) for x, y in polygon_px], fill=1)
    return np.asarray(canvas)


def _run_lengths(filled: Bool[np.ndarray, "height width"]) -> tuple[int, ...]:
    """COCO's run-length encoding: column by column, lengths of runs in turn outside and inside, outside first."""
    flat = filled.flatten(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], changes, [flat.size]])
    lengths = np.diff(bounds).tolist()
    return (0, *lengths) if flat[0] else tuple(lengths)


def _from_run_lengths(counts: list[int], height: int, width: int) -> Bool[np.ndarray, "height width"]:
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(height, width, order="F")
