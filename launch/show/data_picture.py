"""Samples to look at: the images with their regions and 3D centres, the question, the answer."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from corpora.checks.frames import centers_of
from spatial.answer_text import answer_text
from spatial.images import ImageStore
from spatial.sample import SpatialSample
from vlm.regions import draw_marks

_NUM_COLUMNS = 4
_CELL_INCHES = 3.4


def draw_samples(samples: Sequence[SpatialSample], images: ImageStore, file: Path) -> None:
    """Write a picture of samples, each with the first image that has one of its regions.

    Where a camera is known, a ring shows where it sees each region's 3D centre: within its box, if both are right. A
    line leads from the box to a ring that lies elsewhere.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    num_columns = min(_NUM_COLUMNS, len(samples))
    num_rows = -(-len(samples) // num_columns)
    size = (_CELL_INCHES * num_columns, 1.35 * _CELL_INCHES * num_rows)
    figure, grid = plt.subplots(num_rows, num_columns, figsize=size, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, sample in zip(grid.flat, samples, strict=False):
        index = sample.regions[0].image_index if sample.regions else 0
        image = images.open(sample.images[index])
        width_px = max(1, round(max(image.size) / 120))
        axes.imshow(draw_marks(image, sample.regions_of(index), width_px=width_px))
        missing = _draw_centers(axes, sample) if index == 0 else ""
        truth = answer_text(sample.answer)
        text = "\n".join(filter(None, (f"{sample.sample_id}: {sample.question}", f"→ {truth}", missing)))
        # A dollar sign would begin a formula.
        lines = [line.replace("$", r"\$") for part in text.splitlines() for line in textwrap.wrap(part, 44)]
        axes.set_title("\n".join(lines[:10]), fontsize=7, loc="left")
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _draw_centers(axes: Any, sample: SpatialSample) -> str:
    """Draw what the camera sees of the centres; returns which it does not see."""
    centers = centers_of(sample)
    if sample.camera is None:
        return "no camera: its centres cannot be drawn" if centers else ""
    image = sample.images[0]
    behind = []
    for region, center_m in centers:
        left, top, right, bottom = region.box_xyxy_px
        pixel = sample.camera.project(center_m)
        if pixel is None:
            behind.append(region.label)
            continue
        # One that is far outside stands at the border, so that the image keeps its place.
        x, y = min(max(pixel[0], 0.0), image.width_px - 1.0), min(max(pixel[1], 0.0), image.height_px - 1.0)
        axes.plot(x, y, "o", markersize=9, markerfacecolor="none", markeredgecolor="black", markeredgewidth=3)
        axes.plot(x, y, "o", markersize=9, markerfacecolor="none", markeredgecolor=region.colour, markeredgewidth=1.5)
        if not (left <= pixel[0] <= right and top <= pixel[1] <= bottom):
            axes.plot([(left + right) / 2, x], [(top + bottom) / 2, y], "--", color=region.colour, linewidth=1)
    return f"behind the camera: {', '.join(behind)}" if behind else ""
