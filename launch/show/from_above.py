"""A scene from above, drawn with matplotlib: x to the right, z ahead, metres, the camera at the origin."""

from collections.abc import Sequence
from typing import Any

from spatial.grammar import Box3D
from spatial.sample import SpatialSample


def draw_axes(axes: Any, title: str) -> None:
    """The camera, and axes with the same scale."""
    axes.plot(0, 0, "^", color="grey")
    axes.set_title(title)
    axes.set(xlabel="x (right), m", ylabel="z (ahead), m")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(alpha=0.3)


def draw_from_above(axes: Any, sample: SpatialSample, boxes: Sequence[Box3D], title: str) -> None:
    """True centres as circles, as far as they are known, and detected ones as crosses; both in the colour of their
    region."""
    for region in sample.regions:
        if region.center_m is not None:
            x, _, z = region.center_m
            axes.plot(x, z, "o", color=region.colour, markersize=9, markeredgecolor="black")
    for box in boxes:
        x, _, z = box.center_m
        colour = next((region.colour for region in sample.regions if region.is_named_in(box.name)), "black")
        axes.plot(x, z, "x", color=colour, markersize=9, markeredgewidth=2)
    draw_axes(axes, title)
