"""Regions as tensors: how each covers its image's grid of vision tokens, and where it is."""

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

Geometry = tuple[Any, ...]
"""("box", left, top, right, bottom), as fractions of the image's sides; or ("mask", these four, height_px, width_px,
*counts), with the counts of COCO's run-length encoding. A tuple of plain numbers, because it is part of a cache key."""

NUM_POSITION_FEATURES = 1 + 3 * (1 + 2 * 6)
"""1 if depth is known; then x, y, z, and sine and cosine of each at 6 wavelengths."""

REGION_TENSORS = {
    "region_coverage": "coverage",
    "region_boxes": "boxes",
    "region_positions": "positions",
    "num_regions": "num_regions",
}
"""The names of the fields of `RegionInputs` in a processor's output, beside `pixel_values`."""


@dataclass(frozen=True)
class RegionInputs:
    """The regions of several images, image by image."""

    coverage: Tensor
    """Float, [shares]: for each region in turn, its share in each merged cell of its image, row by row."""
    boxes: Tensor
    """Float, [regions, 4]: left, top, right, bottom as fractions of the image's sides, in the order of the tokens."""
    positions: Tensor
    """Float, [regions, NUM_POSITION_FEATURES]: where each is in 3D; zeros if depth is unknown."""
    num_regions: Tensor
    """Int, [images]."""

    @classmethod
    def of_shapes(
        cls,
        shapes: "list[list[Geometry]]",
        positions: "list[list[tuple[float, ...]]]",
        image_grid_thw: Tensor,
        merge_size: int,
    ) -> "RegionInputs":
        """
        Args:
            shapes: the regions' shapes, by image.
            positions: their 3D features, by image; an empty tuple if depth is unknown.
            image_grid_thw: [images, 3], patches of each image in time, height, width.
            merge_size: patches along one side of a merged cell.

        Raises:
            ValueError: a region has no area, or the numbers of images differ.
        """
        if len(shapes) != len(image_grid_thw):
            raise ValueError(f"regions are given for {len(shapes)} images, but there are {len(image_grid_thw)}")
        spread = [
            coverage(shape, int(rows) // merge_size, int(columns) // merge_size)
            for own, (_, rows, columns) in zip(shapes, image_grid_thw.tolist(), strict=True)
            for shape in own
        ]
        unknown = (0.0,) * NUM_POSITION_FEATURES
        return cls(
            coverage=torch.cat([torch.zeros(0), *map(torch.from_numpy, spread)]),
            boxes=torch.tensor([box_of(shape) for own in shapes for shape in own]).view(-1, 4),
            positions=torch.tensor([features or unknown for own in positions for features in own]).view(
                -1, NUM_POSITION_FEATURES
            ),
            num_regions=torch.tensor([len(own) for own in shapes]),
        )

    @classmethod
    def cat(cls, parts: "list[RegionInputs]") -> "RegionInputs":
        """The regions of the images of all parts, in order."""
        return cls(**{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)})

    def by_image(self, num_cells: "list[int]") -> "list[RegionInputs]":
        """The regions, split by image; `num_cells`: each image's merged cells."""
        counts = self.num_regions.tolist()
        shares = self.coverage.split([count * cells for count, cells in zip(counts, num_cells, strict=True)])
        parts = zip(
            shares, self.boxes.split(counts), self.positions.split(counts), self.num_regions.split(1), strict=True
        )
        return [type(self)(*part) for part in parts]

    def to(self, device: "torch.device | str") -> "RegionInputs":
        return type(self)(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def box_of(shape: Geometry) -> tuple[float, float, float, float]:
    """Left, top, right, bottom as fractions of the image's sides."""
    _, left, top, right, bottom, *_ = shape
    return left, top, right, bottom


def coverage(shape: Geometry, num_rows: int, num_columns: int) -> np.ndarray:
    """The share of the region's area in each cell of a grid over the image, row by row; the sum is 1.

    Returns:
        float32, [num_rows × num_columns].

    Raises:
        ValueError: the region has no area on the grid.
    """
    kind, left, top, right, bottom, *mask = shape
    if kind == "box":
        spread = np.outer(overlap(top, bottom, num_rows), overlap(left, right, num_columns))
    else:
        height, width, *counts = mask
        filled = from_run_lengths(counts, height, width).astype(np.float64)
        spread = _resample(height, num_rows) @ filled @ _resample(width, num_columns).T
    if not spread.sum() > 0:
        raise ValueError(f"a region with box {box_of(shape)} has no area on a grid of {num_rows} × {num_columns} cells")
    return (spread / spread.sum()).astype(np.float32).reshape(-1)


def overlap(start: float, end: float, num_cells: int) -> np.ndarray:
    """The length of [start, end] within each of `num_cells` equal parts of [0, 1]: float, [num_cells]."""
    edges = np.linspace(0.0, 1.0, num_cells + 1)
    return np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0.0, None)


def from_run_lengths(counts: "list[int]", height_px: int, width_px: int) -> np.ndarray:
    """A mask from COCO's run-length encoding (column by column, outside first): bool, [height_px, width_px]."""
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(height_px, width_px, order="F")


def _resample(num_pixels: int, num_cells: int) -> np.ndarray:
    """How much of each pixel lies in each cell, along one side: float, [num_cells, num_pixels]."""
    edges = np.linspace(0.0, 1.0, num_pixels + 1)
    return np.stack([overlap(start, end, num_cells) for start, end in pairwise(edges)], axis=1)
