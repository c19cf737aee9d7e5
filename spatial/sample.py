"""The data that every stage works on: one question about one or more images, with its truth.

Camera frame everywhere: +x right, +y down, +z forward, metres. Pixels: origin at the top-left corner, x right, y down.

A sample as a line of JSON (the project's own format, one object per line; docs/data.md)::

    {"sample_id": "tabletop-train-17-q2-dtr", "domain": "tabletop", "kind": "closer_to_camera", "paths": ["dtr"],
     "images": [{"sha256": "9f…", "width_px": 128, "height_px": 128}],
     "question": "Which is closer to the camera? red point (A) or blue point (B)",
     "answer": {"type": "choice", "letter": "A", "num_options": 2},
     "regions": [{"mark": "red", "image_index": 0, "box_xyxy_px": [10.0, 20.0, 42.0, 60.0], "name": "cube",
                  "center_m": [0.02, 1.06, 2.03]}, …],
     "camera": {"fx_px": 120.0, "fy_px": 120.0, "cx_px": 64.0, "cy_px": 64.0},
     "chains": {"dtr": "<detect>…</detect><think>…</think><answer>A</answer>"}}
"""

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from spatial.strict import StrictModel

SPECIAL_TOKEN = re.compile(r"<\|\w+\|>")
"""Text that tokenizers of the Qwen family read as a special token: an image, a region, the end of a turn."""
Vector3 = tuple[float, float, float]
Unit = Literal["m", "cm", "mm", "km", "ft", "in", "deg", "oclock", "count"]
Length = Annotated[float, Field(gt=0)]
Thousandths = Annotated[int, Field(ge=0, le=1000)]
COLOURS = ("red", "blue", "green", "yellow", "cyan", "magenta", "orange", "white")
Mark = Annotated[str, Field(pattern=rf"^({'|'.join(COLOURS)}|[1-9][0-9]?)$")]
"""A colour, or a number from 1 to 99 where there are more regions than colours."""
MAX_ASPECT_RATIO = 200
"""The largest ratio of an image's sides that processors of the Qwen-VL family take."""


def _holds_no_special_token(text: str) -> str:
    if special := SPECIAL_TOKEN.search(text):
        raise ValueError(
            f"holds {special[0]}: the prompt places its own tokens for images, regions and turns; use ordinary words "
            "instead (red point)"
        )
    return text


def _says_something(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty: a cold start on it would teach empty responses; write it, or leave the path out")
    return text


Chain = Annotated[str, AfterValidator(_says_something), AfterValidator(_holds_no_special_token)]
"""A whole response, in the grammar of its path."""


class ReasoningPath(StrEnum):
    """A way of answering. The sample decides which one, never the model."""

    LOR = "lor"  # language-only reasoning
    DTR = "dtr"  # detect 3D centres, then reason
    DIRECT = "direct"  # the answer alone, without a thought: perception, grounding, plain questions


class ChoiceAnswer(StrictModel):
    """The letter of the right option; the question lists the options A, B, …"""

    type: Literal["choice"] = "choice"
    letter: Annotated[str, Field(pattern=r"^[A-Z]$")]
    num_options: Annotated[int, Field(ge=2, le=26)]


class NumberAnswer(StrictModel):
    """A number; an answer in another unit of the same dimension is converted to `unit` before it is scored."""

    type: Literal["number"] = "number"
    value: float
    unit: Unit


class MotionAnswer(StrictModel):
    """A camera motion, such as {"move_right": 0.4, "rotate_up": 5.0} (metres and degrees)."""

    type: Literal["motion"] = "motion"
    moves: Annotated[dict[str, float], Field(min_length=1)]


class TextAnswer(StrictModel):
    """A word or phrase, compared without case and outer white space."""

    type: Literal["text"] = "text"
    text: Annotated[str, Field(min_length=1)]


class PointAnswer(StrictModel):
    """Where something is in 3D, written "x,y,z"."""

    type: Literal["point"] = "point"
    center_m: Vector3
    """Camera frame."""


class PlacesAnswer(StrictModel):
    """What is where: centres by name, written "red cube 0.02,1.06,2.03; blue cone -0.71,0.88,3.40"."""

    type: Literal["places"] = "places"
    centers_m: Annotated[dict[str, Vector3], Field(min_length=1)]
    """Camera frame."""


class Box3DAnswer(StrictModel):
    """A box in 3D, written as a line of a detect block with size and yaw (`spatial.grammar`)."""

    type: Literal["box_3d"] = "box_3d"
    center_m: Vector3
    """Camera frame."""
    size_m: tuple[Length, Length, Length]
    """Width, height, length."""
    yaw_deg: float
    """Turn about the vertical; one half turn later it is the same box."""


class Box2DAnswer(StrictModel):
    """A box in an image, written "[left,top,right,bottom]" in thousandths of the image's sides, as Qwen3-VL does."""

    type: Literal["box_2d"] = "box_2d"
    box_xyxy: tuple[Thousandths, Thousandths, Thousandths, Thousandths]


Answer = Annotated[
    ChoiceAnswer | NumberAnswer | MotionAnswer | TextAnswer | PointAnswer | PlacesAnswer | Box3DAnswer | Box2DAnswer,
    Field(discriminator="type"),
]


class BadImageError(ValueError):
    """An image cannot be used; the message says what is wrong with it and what to do."""


def mark_label(mark: Mark) -> str:
    """What questions, prompts and detect blocks call a marked region: "red point", "region 3"."""
    return f"region {mark}" if mark.isdigit() else f"{mark} point"


def check_shape(width_px: int, height_px: int) -> None:
    """
    Raises:
        BadImageError: no processor takes an image of this shape.
    """
    if max(width_px, height_px) > MAX_ASPECT_RATIO * min(width_px, height_px):
        raise BadImageError(
            f"an image of {width_px}x{height_px} px: one side is more than {MAX_ASPECT_RATIO} times the other, which "
            "no processor of the Qwen-VL family takes; crop it, or leave it out"
        )


class ImageRef(StrictModel):
    """An image by the SHA-256 of its file; the pixels live in an `ImageStore`."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    width_px: Annotated[int, Field(ge=1)]
    height_px: Annotated[int, Field(ge=1)]
    """Size of the image as a viewer shows it, upright; boxes and points are in its pixels."""

    @model_validator(mode="after")
    def _has_a_shape_that_processors_take(self) -> Self:
        check_shape(self.width_px, self.height_px)
        return self


class DepthRef(StrictModel):
    """A depth map by the SHA-256 of its file, a 16-bit PNG in an `ImageStore`; level 0 means unknown."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    width_px: Annotated[int, Field(ge=1)]
    height_px: Annotated[int, Field(ge=1)]
    metres_per_level: Annotated[float, Field(gt=0)] = 0.001
    is_relative: bool = False
    """Whether depth is known only up to a scale; it is then divided by its median."""


class Camera(StrictModel):
    """A pinhole camera. `K = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]`, pixels."""

    fx_px: Annotated[float, Field(gt=0)]
    fy_px: Annotated[float, Field(gt=0)]
    cx_px: float
    cy_px: float

    def project(self, point_m: Vector3) -> tuple[float, float] | None:
        """The pixel (x, y) at which a point of the camera frame appears, in the image or beside it; None behind the
        camera."""
        x, y, z = point_m
        if z <= 0:
            return None
        return self.fx_px * x / z + self.cx_px, self.fy_px * y / z + self.cy_px


class Region(StrictModel):
    """A marked part of one image, referred to in the question by its label ("red point", "region 3")."""

    mark: Mark
    image_index: Annotated[int, Field(ge=0)] = 0
    box_xyxy_px: tuple[float, float, float, float]
    """2D box (left, top, right, bottom) in the pixels of its image."""
    polygon_px: Annotated[tuple[tuple[float, float], ...], Field(min_length=3, max_length=10_000)] | None = None
    """Its outline (x, y) within the box, if known."""
    rle_counts: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=1_000_000)] | None = None
    """Its mask over the whole image in COCO's uncompressed run-length encoding: column by column, the lengths of runs
    alternately outside and inside, outside first."""
    name: str = ""
    """What it shows ("cube"); written in the detect block after the centre."""
    center_m: Vector3 | None = None
    """True 3D centre in the camera frame (of the first image, if there are several); None if unknown."""
    centers_by_image_m: tuple[Vector3 | None, ...] = ()
    """The same in the camera frame of each image, in order, as far as known; the released reward uses it for responses
    that name another frame."""

    @model_validator(mode="after")
    def _box_has_area(self) -> Self:
        left, top, right, bottom = self.box_xyxy_px
        if not (left < right and top < bottom):
            raise ValueError(f"region '{self.mark}': box_xyxy_px={list(self.box_xyxy_px)} has no area")
        if self.polygon_px is not None and self.rle_counts is not None:
            raise ValueError(f"region '{self.mark}': polygon_px and rle_counts are both given; give one of them")
        if self.rle_counts is not None and sum(self.rle_counts[1::2]) == 0:
            raise ValueError(f"region '{self.mark}': rle_counts has no area")
        for x, y in self.polygon_px or ():
            if not (left <= x <= right and top <= y <= bottom):
                raise ValueError(
                    f"region '{self.mark}': polygon_px has a point ({x:g}, {y:g}) outside box_xyxy_px="
                    f"{list(self.box_xyxy_px)}"
                )
        return self

    @property
    def label(self) -> str:
        """What questions, prompts and detect blocks call it: "red point", "region 3"."""
        return mark_label(self.mark)

    @property
    def colour(self) -> str:
        """The colour it is drawn in; numbered marks take the colours in turn."""
        return COLOURS[(int(self.mark) - 1) % len(COLOURS)] if self.mark.isdigit() else self.mark

    def is_named_in(self, name: str) -> bool:
        """Whether the name of a detected object refers to this region: "cabinet (red point)"."""
        return f"({self.label})" in name


class SeenObject(StrictModel):
    """Something in view, by its name, for a loss that ties words to places. It is never shown to the model."""

    name: Annotated[str, Field(min_length=1)]
    image_index: Annotated[int, Field(ge=0)] = 0
    box_xyxy_px: tuple[float, float, float, float]


class SpatialSample(StrictModel):
    """One question about images, its answer, and what is known about the 3D scene."""

    version: Literal[1] = 1
    """Version of this format (docs/data.md); samples of other versions are refused."""
    sample_id: Annotated[str, Field(min_length=1)]
    domain: Annotated[str, Field(min_length=1)]
    """Where the sample comes from ("tabletop", "room"); whole domains can be held out."""
    kind: Annotated[str, Field(min_length=1)]
    """The kind of question ("count", "depth", …), for balance and for tables."""
    paths: Annotated[tuple[ReasoningPath, ...], Field(min_length=1)]
    """The paths it may be asked through."""
    images: Annotated[tuple[ImageRef, ...], Field(min_length=1)]
    question: Annotated[str, Field(min_length=1), AfterValidator(_holds_no_special_token)]
    answer: Answer
    regions: tuple[Region, ...] = ()
    objects: tuple[SeenObject, ...] = ()
    """Other objects that are known to be in view."""
    camera: Camera | None = None
    depths: tuple[DepthRef | None, ...] = ()
    """Depth of each image along the camera's forward axis, None where unknown; empty if all are unknown."""
    chains: dict[ReasoningPath, Chain] = Field(default_factory=dict)
    """A whole true response by path, for the cold start."""

    @model_validator(mode="after")
    def _regions_lie_in_their_images(self) -> Self:
        if self.depths and len(self.depths) != len(self.images):
            raise ValueError(f"depths: {len(self.depths)} for {len(self.images)} images; give one (or null) for each")
        for index, (depth, picture) in enumerate(zip(self.depths, self.images, strict=False)):
            if depth and (depth.width_px, depth.height_px) != (picture.width_px, picture.height_px):
                raise ValueError(
                    f"depths.{index}: {depth.width_px}x{depth.height_px} px, but its image has "
                    f"{picture.width_px}x{picture.height_px}"
                )
        for seen in self.objects:
            self._check_box(f"object '{seen.name}'", seen.image_index, seen.box_xyxy_px)
        for region in self.regions:
            self._check_box(f"region '{region.mark}'", region.image_index, region.box_xyxy_px)
            image = self.images[region.image_index]
            if region.centers_by_image_m and len(region.centers_by_image_m) != len(self.images):
                raise ValueError(
                    f"region '{region.mark}': centers_by_image_m has {len(region.centers_by_image_m)} entries for "
                    f"{len(self.images)} images; give one (or null) for each"
                )
            if region.rle_counts is not None and sum(region.rle_counts) != image.width_px * image.height_px:
                raise ValueError(
                    f"region '{region.mark}': rle_counts add up to {sum(region.rle_counts)} pixels, but its image has "
                    f"{image.width_px}x{image.height_px}"
                )
        marks = [region.mark for region in self.regions]
        if len(set(marks)) != len(marks):
            raise ValueError(f"regions share a mark: {marks}")
        if unknown := set(self.chains) - set(self.paths):
            raise ValueError(f"chains for paths that are not in paths: {sorted(unknown)}")
        return self

    def _check_box(self, what: str, image_index: int, box_xyxy_px: tuple[float, float, float, float]) -> None:
        if image_index >= len(self.images):
            raise ValueError(f"{what}: image_index={image_index}, but there are {len(self.images)} images")
        image = self.images[image_index]
        left, top, right, bottom = box_xyxy_px
        if left < 0 or top < 0 or right > image.width_px or bottom > image.height_px:
            raise ValueError(
                f"{what}: box_xyxy_px={list(box_xyxy_px)} lies outside its image of "
                f"{image.width_px}x{image.height_px} px"
            )
        if left >= right or top >= bottom:
            raise ValueError(f"{what}: box_xyxy_px={list(box_xyxy_px)} has no area")

    def regions_of(self, image_index: int) -> tuple[Region, ...]:
        """The regions of one of its images, in order."""
        return tuple(region for region in self.regions if region.image_index == image_index)

    @property
    def true_centers_m(self) -> tuple[Vector3, ...] | None:
        """The true centres of all regions in order, or None unless every region has one (and there is a region)."""
        centers = tuple(region.center_m for region in self.regions if region.center_m is not None)
        return centers if self.regions and len(centers) == len(self.regions) else None
