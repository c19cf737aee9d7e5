"""Grounding questions from data sets of 3D boxes: for a marked region, the centre or 3D box of its object.

They are answered directly (`ReasoningPath.DIRECT`), with the wording of the project's own scenes.

A question is asked about an object if its picture shows enough of it. Objects outside the config's bounds are left
out and are not rejects; objects that contradict themselves are.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from corpora.geometry.solids import Box, Solid, part_in_view, projected_box, upright_extent
from corpora.rows import Reader, RowError
from spatial.grammar import Box3D, decimals, format_box, format_response
from spatial.questions.kinds import KINDS
from spatial.sample import (
    Answer,
    Box3DAnswer,
    Camera,
    DepthRef,
    ImageRef,
    Mark,
    PointAnswer,
    ReasoningPath,
    Region,
    SpatialSample,
    Vector3,
)

_MARKS: tuple[Mark, ...] = ("red", "blue", "green", "yellow")
_MIN_SIDE_M = 0.01  # a thinner side would be written as 0.00, which is no box
_NAME = re.compile(r"[^<>\s]([^<>\n\r\t]{0,58}[^<>\s])?")


class GroundingReader(Reader):
    """Which questions are asked, and about which objects."""

    kinds: Annotated[tuple[Literal["region_center", "region_box"], ...], Field(min_length=1)] = (
        "region_center",
        "region_box",
    )
    """Questions about each object: its centre, and its box (upright objects only)."""
    every_nth: Annotated[int, Field(ge=1)] = 1
    """Read every n-th image of a capture, from the first on: neighbouring frames show the same."""
    with_depth: bool = False
    """Also keep the depth maps."""
    left_out: tuple[str, ...] = ("wall", "floor", "ceiling")
    """Categories without questions."""
    min_in_view: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Smallest share of the projected box that lies within the image."""
    min_box_px: Annotated[float, Field(ge=1)] = 16.0
    """Shortest side of an object's 2D box."""
    max_depth_m: Annotated[float, Field(gt=0)] = 20.0
    """Farthest centre along the camera's forward axis."""
    max_tilt_deg: Annotated[float, Field(ge=0, lt=90)] = 60.0
    """Largest angle between an object's vertical and the camera's; beyond it, height and sides are ambiguous."""


@dataclass(frozen=True, eq=False)
class CapturedImage:
    """An image of a capture."""

    key: str
    """Prefix of its samples' ids."""
    domain: str
    image: ImageRef
    camera: Camera
    depth: DepthRef | None = None


@dataclass(frozen=True, eq=False)
class SeenSolid:
    """An object in a picture."""

    key: str
    """Unique among the objects of the picture."""
    name: str
    solid: Solid
    vertical: int | None
    """The axis of its box that is along gravity; None: it leans, so its box has no yaw to ask for."""
    box_xyxy_px: Box | None = None
    """The box around its visible pixels; None: unknown, and its region is the projected box."""


def samples_about(config: GroundingReader, picture: CapturedImage, seen: SeenSolid) -> Iterator[SpatialSample]:
    """The samples about an object; none if it is outside the config's bounds.

    Raises:
        RowError: the object contradicts its picture, or its name cannot be written in an answer.
    """
    solid = _rounded(seen.solid)
    name = " ".join(seen.name.split())
    if not _NAME.fullmatch(name):
        raise RowError("name", seen.name, "give 1 to 60 characters without '<' and '>'")
    region_px = _region(config, picture, seen)
    if name.casefold() in config.left_out or region_px is None:
        return
    region = Region(
        mark=mark_of(f"{picture.key}/{seen.key}"), box_xyxy_px=region_px, name=name, center_m=solid.center_m
    )
    for kind in config.kinds:
        asked = _question(kind, region, solid, seen.vertical, config.max_tilt_deg)
        if asked is not None:
            question, answer, text = asked
            yield SpatialSample(
                sample_id=f"{picture.key}/{seen.key}/{kind}",
                domain=picture.domain,
                kind=kind,
                paths=(ReasoningPath.DIRECT,),
                images=(picture.image,),
                question=question,
                answer=answer,
                regions=(region,),
                camera=picture.camera,
                depths=() if picture.depth is None else (picture.depth,),
                chains={ReasoningPath.DIRECT: format_response(ReasoningPath.DIRECT, answer=text)},
            )


def _region(config: GroundingReader, picture: CapturedImage, seen: SeenSolid) -> Box | None:
    """The 2D box that marks the object; None: the object is outside the config's bounds."""
    projected = projected_box(seen.solid, picture.camera)
    if projected is None or seen.solid.center_m[2] > config.max_depth_m:
        return None
    in_view = part_in_view(projected, picture.image.width_px, picture.image.height_px)
    if in_view is None or not in_view[1] >= config.min_in_view:
        return None
    left, top, right, bottom = box = seen.box_xyxy_px or in_view[0]
    return box if min(right - left, bottom - top) >= config.min_box_px else None


def _question(
    kind: str, region: Region, solid: Solid, vertical: int | None, max_tilt_deg: float
) -> tuple[str, Answer, str] | None:
    """A question, its answer, and the answer as it is written."""
    if kind == "region_center":
        return center_question(region.label, solid.center_m)
    extent = None if vertical is None else upright_extent(solid, vertical, max_tilt_deg)
    if extent is None or min(solid.size_m) < _MIN_SIDE_M:
        return None
    size_m, yaw_deg = extent
    return box_question(region.label, region.name, solid.center_m, size_m, yaw_deg)


def asking(kind: str, name: str) -> str:
    """The question of a kind about one object, in the wording of the project's own scenes."""
    return KINDS[kind].phrasing("brief").stem.format(name)


def center_question(label: str, center_m: Vector3) -> tuple[str, Answer, str]:
    """A question about the centre of a region, its answer, and the answer as it is written."""
    return asking("region_center", label), PointAnswer(center_m=center_m), decimals(*center_m)


def box_question(label: str, name: str, center_m: Vector3, size_m: Vector3, yaw_deg: float) -> tuple[str, Answer, str]:
    """A question about the 3D box of a region, its answer, and the answer as it is written."""
    answer = Box3DAnswer(center_m=center_m, size_m=size_m, yaw_deg=yaw_deg)
    return asking("region_box", label), answer, format_box(Box3D(center_m, name, size_m, yaw_deg))


def _rounded(solid: Solid) -> Solid:
    """The solid with its centre rounded as in the answer, because that text is the true answer."""
    x, y, z = (round(value, 2) + 0.0 for value in solid.center_m)
    return Solid((x, y, z), solid.size_m, solid.rotation)


def mark_of(key: str) -> Mark:
    """A colour by the hash of an object's key, so that no colour stands for a kind of object."""
    return _MARKS[zlib.crc32(key.encode(errors="replace")) % len(_MARKS)]
