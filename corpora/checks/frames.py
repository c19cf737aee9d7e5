"""Whether 3D centres are in the camera frame: +x right, +y down, +z forward.

A centre in the right frame projects into its region's box. If many do not, other common frames are tried: one in which
nearly all centres lie inside explains the fault.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from corpora.checks.findings import Finding, Tally
from spatial.grammar import parse_response
from spatial.sample import Box3DAnswer, Camera, PlacesAnswer, PointAnswer, ReasoningPath, Region, SpatialSample, Vector3

Turn = Callable[[Vector3], Vector3]
FRAMES: Mapping[str, Turn] = {
    "y points up": lambda c: (c[0], -c[1], c[2]),
    "z points backward (behind the camera is in front)": lambda c: (c[0], c[1], -c[2]),
    "x points left (the scene is mirrored)": lambda c: (-c[0], c[1], c[2]),
    "y points up and z backward (as in OpenGL, Blender, ARKit)": lambda c: (c[0], -c[1], -c[2]),
    "x points left and y up (as in PyTorch3D)": lambda c: (-c[0], -c[1], c[2]),
    "x points left and z backward": lambda c: (-c[0], c[1], -c[2]),
    "all three axes are turned round": lambda c: (-c[0], -c[1], -c[2]),
    "y points forward and z up (as in world frames)": lambda c: (c[0], -c[2], c[1]),
    "x points forward, y left and z up (as in robotics)": lambda c: (-c[1], -c[2], c[0]),
}
"""Other frames that data sets use, with the conversion of a centre into ours."""

_EXPLAINED = 0.8
"""A frame is named if it explains at least this share of the misplaced centres."""
_TOLERATED = 0.02
"""Share of misplaced centres that is tolerated: objects may be cut off by the image's border."""


def lies_in_box(pixel: tuple[float, float] | None, box: tuple[float, float, float, float], slack: float) -> bool:
    """Whether a pixel is within a box widened by half its sides and by `slack` pixels: centres are rarely exact."""
    if pixel is None:
        return False
    left, top, right, bottom = box
    wide, high = (right - left) / 2 + slack, (bottom - top) / 2 + slack
    return left - wide <= pixel[0] <= right + wide and top - high <= pixel[1] <= bottom + high


def centers_of(sample: SpatialSample) -> list[tuple[Region, Vector3]]:
    """Regions of the first image with their centres, from the region itself, from the answer, or from the chain."""
    regions = sample.regions_of(0)
    if found := [(region, region.center_m) for region in regions if region.center_m is not None]:
        return found
    if len(sample.regions) == len(regions) == 1 and isinstance(sample.answer, (PointAnswer, Box3DAnswer)):
        return [(regions[0], sample.answer.center_m)]
    parsed = parse_response(ReasoningPath.DTR, sample.chains.get(ReasoningPath.DTR, ""))
    if parsed.reference_frame is not None:
        return []
    return [(region, box.center_m) for box in parsed.boxes for region in regions if region.is_named_in(box.name)]


def _answer_centers_m(sample: SpatialSample) -> list[Vector3]:
    match sample.answer:
        case PointAnswer(center_m=center_m) | Box3DAnswer(center_m=center_m):
            return [center_m]
        case PlacesAnswer(centers_m=centers_m):
            return list(centers_m.values())
    return []


class FrameCheck:
    """Whether centres project into their boxes, and in which frame they would if not."""

    def __init__(self) -> None:
        self._misplaced = Tally(
            "3D centres do not lie in their region's box when the camera projects them",
            "correct the centres or the camera (+x right, +y down, +z forward); look at --show",
        )
        self._behind = Tally(
            "3D centres are behind the camera (z is 0 or less)", "give z as the distance along the camera's view"
        )
        self._no_camera = Tally(
            "samples have 3D centres and no camera, so that their frame can hardly be checked",
            "give `camera` (fx_px, fy_px, cx_px, cy_px)",
            is_wrong=False,
        )
        self._explained = Counter[str]()
        self._off_middle = Tally(
            "cameras have their principal point far from the image's middle",
            "give the camera of the image as it is stored: scaled and cropped as it was",
        )
        self._resized = 0

    def add(self, sample: SpatialSample) -> bool:
        centers = centers_of(sample)
        told_m = _answer_centers_m(sample)
        looks_wrong = bool(told_m) and self._behind.add(sample.sample_id, min(c[2] for c in told_m) <= 0)
        if not centers:
            return looks_wrong
        image, camera = sample.images[0], sample.camera
        self._no_camera.add(sample.sample_id, camera is None)
        slack = 0.02 * max(image.width_px, image.height_px)
        if camera is not None:
            far = max(abs(camera.cx_px / image.width_px - 0.5), abs(camera.cy_px / image.height_px - 0.5))
            self._off_middle.add(sample.sample_id, far > 0.25)
        else:
            # A wide view; the side of the middle on which a centre lies does not depend on it.
            side = float(max(image.width_px, image.height_px))
            camera = Camera(fx_px=side, fy_px=side, cx_px=image.width_px / 2, cy_px=image.height_px / 2)
            slack = side / 4
        for region, center_m in centers:
            self._behind.add(sample.sample_id, center_m[2] <= 0)
            is_misplaced = not lies_in_box(camera.project(center_m), region.box_xyxy_px, slack)
            looks_wrong |= self._misplaced.add(sample.sample_id, is_misplaced)
            if is_misplaced:
                for name, turn in FRAMES.items():
                    self._explained[name] += lies_in_box(camera.project(turn(center_m)), region.box_xyxy_px, slack)
                scaled = _resized(camera, image.width_px, image.height_px)
                self._resized += lies_in_box(scaled.project(center_m), region.box_xyxy_px, slack)
        return looks_wrong

    def findings(self) -> list[Finding]:
        found = self._off_middle.findings() + self._no_camera.findings()
        num = self._misplaced.num
        if not num:
            return self._behind.findings() + found
        (misplaced,) = self._misplaced.findings()
        if num <= _TOLERATED * self._misplaced.num_checked:
            return [replace(misplaced, is_wrong=False), *self._behind.findings(), *found]
        frame, most = max(self._explained.items(), key=lambda item: item[1], default=("", 0))
        if self._resized >= max(most, _EXPLAINED * num):
            why = f"{self._resized} of them would if the camera were scaled to the image's size: it is another size's"
            return [replace(misplaced, remedy=f"{why}; scale fx, fy, cx and cy as the image was scaled"), *found]
        if most >= _EXPLAINED * num:
            why = f"{most} of them would if they were in a frame in which {frame}; turn them into +x right, +y down, "
            return [replace(misplaced, remedy=f"{why}+z forward"), *found]
        return [misplaced, *self._behind.findings(), *found]


def _resized(camera: Camera, width_px: int, height_px: int) -> Camera:
    """The camera scaled so that its principal point is the image's middle, as if the image had been resized."""
    x, y = width_px / (2 * camera.cx_px or 1), height_px / (2 * camera.cy_px or 1)
    if x <= 0 or y <= 0:
        return camera
    return Camera(fx_px=camera.fx_px * x, fy_px=camera.fy_px * y, cx_px=width_px / 2, cy_px=height_px / 2)
