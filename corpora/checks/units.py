"""Whether 3D centres are in metres.

A projection does not depend on the unit. A wrong unit shows in implausible sizes and distances, and in depth maps.
"""

import math
from dataclasses import replace
from statistics import median

import numpy as np

from corpora.checks.findings import Finding, Tally
from corpora.checks.frames import centers_of
from spatial.images import ImageStore
from spatial.sample import BadImageError, Box3DAnswer, Region, SpatialSample, Vector3

_MAX_SIZE_M, _MAX_DEPTH_M = 15.0, 100.0
_MIN_SIZE_M, _MIN_DEPTH_M = 0.003, 0.05
_USUAL_SIZE_M, _USUAL_DEPTH_M = 0.6, 3.0
_AGREEING = 0.8
"""Share of values that must agree on a unit."""
_UNITS = {"millimetres": 0.001, "centimetres": 0.01, "kilometres": 1000.0}
_UNUSUAL, _APART = 0.1, 0.1
"""Above these shares of centres, unusual lengths, and depths that differ from the depth map, are not chance."""
_MAX_KEPT = 100_000
_NUM_DEPTHS_READ = 300


class UnitCheck:
    """Whether centres are in metres, judged by sizes and distances, and by depth maps."""

    def __init__(self, images: ImageStore) -> None:
        self._images = images
        self._large = _Lengths("large or far for metres")
        self._small = _Lengths("small or near for metres")
        self._ratios: list[float] = []
        """Ratios of centres' depths to those in their depth maps."""
        self._apart = Tally(
            "3D centres are at another depth than their depth map shows there",
            "correct the centres, or `metres_per_level` of the depth maps",
        )

        self._sizes = Tally(
            "3D boxes are of another size than their centre and 2D box allow",
            "give `size_m` in metres: width, height and length",
        )

    def add(self, sample: SpatialSample) -> bool:
        image = sample.images[0]
        focal_px = sample.camera.fx_px if sample.camera else float(max(image.width_px, image.height_px))
        centers = centers_of(sample)
        looks_wrong = False
        for region, center_m in centers:
            left, top, right, bottom = region.box_xyxy_px
            depth = abs(center_m[2])
            size = math.sqrt((right - left) * (bottom - top)) / focal_px * depth
            looks_wrong |= self._large.add(sample.sample_id, depth, size, depth > _MAX_DEPTH_M or size > _MAX_SIZE_M)
            looks_wrong |= self._small.add(sample.sample_id, depth, size, depth < _MIN_DEPTH_M or size < _MIN_SIZE_M)
            if isinstance(sample.answer, Box3DAnswer) and len(centers) == 1 and size > 0:
                looks_wrong |= self._sizes.add(sample.sample_id, not 0.2 <= max(sample.answer.size_m) / size <= 6.0)
        if centers and sample.depths and sample.depths[0] is not None and self._apart.num_checked < _NUM_DEPTHS_READ:
            looks_wrong |= self._compare(sample, centers)
        return looks_wrong

    def _compare(self, sample: SpatialSample, centers: list[tuple[Region, Vector3]]) -> bool:
        depth = sample.depths[0]
        if depth is None or depth.is_relative:
            return False
        try:
            depth_m = self._images.open_depth(depth)
        except (BadImageError, OSError):
            return False  # reported where images are checked
        looks_wrong = False
        for region, center_m in centers:
            left, top, right, bottom = (round(side) for side in region.box_xyxy_px)
            seen = depth_m[top : max(bottom, top + 1), left : max(right, left + 1)]
            if not np.isfinite(seen).any():
                continue
            ratio = abs(center_m[2]) / float(np.nanmedian(seen))
            self._ratios.append(ratio)
            looks_wrong |= self._apart.add(sample.sample_id, not 0.4 <= ratio <= 3.0)
        return looks_wrong

    def findings(self) -> list[Finding]:
        by_map = _unit_by_ratio(median(self._ratios)) if self._ratios else ""
        found = self._large.finding(by_map or self._large.unit()) + self._small.finding(
            "kilometres or of unknown scale"
        )
        if not found and self._apart.num > _APART * self._apart.num_checked:
            found = self._apart.findings()
            if by_map:
                found = [replace(found[0], remedy=f"they seem to be in {by_map}; give metres")]
        # The 2D box of an object that is cut off is too small.
        return found + (self._sizes.findings() if self._sizes.num > _APART * self._sizes.num_checked else [])


class _Lengths:
    """Unusual distances and sizes of objects."""

    def __init__(self, what: str) -> None:
        self._tally = Tally(f"3D centres are {what}", "")
        self._depths: list[float] = []
        self._sizes: list[float] = []

    def add(self, sample_id: str, depth: float, size: float, is_unusual: bool) -> bool:
        self._tally.add(sample_id, is_unusual)
        if is_unusual and len(self._depths) < _MAX_KEPT:
            self._depths.append(depth)
            self._sizes.append(size)
        return is_unusual

    def unit(self) -> str:
        """The unit that makes them the most plausible."""
        if not self._depths:
            return ""
        depth, size = median(self._depths), median(self._sizes)

        def unusual(unit: str) -> float:
            scale = _UNITS[unit]
            return abs(math.log(depth * scale / _USUAL_DEPTH_M)) + abs(math.log(size * scale / _USUAL_SIZE_M))

        return min(("millimetres", "centimetres"), key=unusual)

    def finding(self, unit: str) -> list[Finding]:
        if self._tally.num <= _UNUSUAL * self._tally.num_checked:
            return []
        (found,) = self._tally.findings()
        seen = f"the median of these is {median(self._depths):,.3g} away and its thing {median(self._sizes):,.3g} large"
        return [replace(found, remedy=f"{seen}, so they seem to be in {unit}; give metres")]


def _unit_by_ratio(ratio: float) -> str:
    """The unit that explains lengths that are `ratio` times too large; empty: none does."""
    for unit, scale in _UNITS.items():
        if 0.6 < ratio * scale < 1.7:
            return unit
    return ""


def unit_by_ratios(ratios: list[float]) -> str:
    """The unit that explains several ratios; empty unless nearly all agree."""
    if not ratios:
        return ""
    unit = _unit_by_ratio(median(ratios))
    agreeing = sum(_unit_by_ratio(ratio) == unit for ratio in ratios)
    return unit if unit and agreeing >= _AGREEING * len(ratios) else ""
