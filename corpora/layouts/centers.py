"""`3d_pos`, the true centres in SR-REAL's rows, in metres and the camera frame (+x right, +y down, +z forward).

::

    {"red_point": {"center_cam": [0.46, -0.21, 2.25], "label": "bin", …}}                one image: by mark
    {"red_point": {"current_frame": 1,                                              several: the image of the mark,
                   "current_frame_3d": {"center_cam": […], "label": "bin", …},             the centre in its frame,
                   "all_frame_3d": {"0": {"center_cam": […]}, "1": …}}}                       and in every image's
    [[0.46, -0.21, 2.25], …]                                             a centre for each region, in order

Centres are stored in the frame of the first image, and the centres in the other frames next to them. Any other form is
an error, because an ignored centre would silently cost rewards.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from corpora.rows import Raw, RowError, checked
from spatial.sample import COLOURS, Region, Vector3

_MARK = re.compile(rf"({'|'.join(COLOURS)})(?:[_ ](?:point|bbox))?|region[_ ]([1-9][0-9]?)", re.IGNORECASE)
_NAME = re.compile(r"[^<>\s](?:[^<>\n\r\t]{0,58}[^<>\s])?")
_UNKNOWN_NAMES = ("", "unknown")
_FORMS = "give center_cam, or all_frame_3d with an entry for each image"


class _Center(Raw):
    center_cam: Annotated[list[float], Field(min_length=3, max_length=3)]


class _Centers(Raw):
    centers_m: list[Annotated[list[float], Field(min_length=3, max_length=3)]]


@dataclass(frozen=True)
class _KnownCenters:
    center_m: Vector3
    """The centre in the frame of the first image."""
    name: str
    views_m: tuple[Vector3 | None, ...]
    """The centre in the frame of each of several images, where known."""


def frames_of(value: Any) -> dict[str, int]:
    """The image of each mark, by its colour, if `3d_pos` says so."""
    entries = value.items() if isinstance(value, dict) else ()
    frames = {_mark_of(key): entry.get("current_frame") for key, entry in entries if isinstance(entry, dict)}
    return {mark: frame for mark, frame in frames.items() if isinstance(frame, int) and not isinstance(frame, bool)}


def with_centers(value: Any, regions: tuple[Region, ...], num_images: int) -> tuple[Region, ...]:
    """The regions with their centres and names.

    Raises:
        RowError: `value` has none of the known forms, or names a mark or an image that the row does not have.
    """
    if value is None or value in ({}, []):
        return regions
    if isinstance(value, list):
        return _in_order(value, regions)
    if not isinstance(value, dict):
        raise RowError("3d_pos", value, "an unknown form: give an object with the centre of each mark")
    entries: dict[str, _KnownCenters] = {}
    by_mark = {region.mark: region for region in regions}
    for key, entry in value.items():
        if entry is None:  # tables write null for a field that a row leaves out
            continue
        mark = _mark_of(key)
        if mark not in by_mark:
            labels = [region.label for region in regions]
            raise RowError("3d_pos", key, f"the row has no such mark; its marks are {labels}")
        if mark in entries:
            raise RowError("3d_pos", key, f"a second centre for the {by_mark[mark].label}")
        entries[mark] = _entry(entry, f"3d_pos.{key}", by_mark[mark], num_images)
    return tuple(
        region.replace(center_m=found.center_m, name=found.name or region.name, centers_by_image_m=found.views_m)
        if (found := entries.get(region.mark))
        else region
        for region in regions
    )


def _mark_of(key: Any) -> str:
    """The mark that a key names ("red_point"); the key itself if it names none."""
    match = _MARK.fullmatch(str(key))
    return (match[1] or match[2]).lower() if match else str(key)


def _in_order(value: Sequence[Any], regions: tuple[Region, ...]) -> tuple[Region, ...]:
    centers = checked(_Centers, {"centers_m": value}, "3d_pos").centers_m
    if len(centers) != len(regions):
        raise RowError("3d_pos", len(centers), f"give a centre for each of {len(regions)} regions")
    return tuple(region.replace(center_m=_vector(at)) for region, at in zip(regions, centers, strict=True))


def _entry(entry: Any, field: str, region: Region, num_images: int) -> _KnownCenters:
    """The centres and the name of a mark."""
    if not isinstance(entry, dict):
        raise RowError(field, entry, f"an unknown form: {_FORMS}")
    own = entry.get("current_frame_3d")
    own = {} if own is None else own
    if not isinstance(own, dict):
        raise RowError(f"{field}.current_frame_3d", own, "give an object with center_cam")
    frame = _frame(entry, field, region, num_images)
    views = _views(entry.get("all_frame_3d"), f"{field}.all_frame_3d", num_images)
    if views and views[0] is not None:
        return _KnownCenters(views[0], _name(entry, own), views if num_images > 1 else ())
    for found, where in ((own, f"{field}.current_frame_3d"), (entry, field)):
        if found.get("center_cam") is not None:
            if frame != 0:
                advice = f"is in the frame of image {frame}; give it in that of the first (all_frame_3d, 0)"
                raise RowError(f"{where}.center_cam", found["center_cam"], advice)
            center_m = _vector(checked(_Center, found, where).center_cam)
            in_views = (center_m, *views[1:]) if num_images > 1 and views else ()
            return _KnownCenters(center_m, _name(entry, own), in_views)
    raise RowError(field, sorted(map(str, entry)), f"no centre in a known form: {_FORMS}")


def _frame(entry: dict[str, Any], field: str, region: Region, num_images: int) -> int:
    """The image in whose frame a mark's own centre is given."""
    frame = entry.get("current_frame")
    if frame is None:
        return region.image_index
    if isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame < num_images:
        raise RowError(f"{field}.current_frame", frame, f"the row has {num_images} images, counted from 0")
    if frame != region.image_index:
        raise RowError(f"{field}.current_frame", frame, f"the {region.label} is on image {region.image_index}")
    return frame


def _views(everywhere: Any, field: str, num_images: int) -> tuple[Vector3 | None, ...]:
    """The centre in the frame of each image, None where it is not given; empty if none is given."""
    if everywhere is None:
        return ()
    if isinstance(everywhere, list):
        everywhere = dict(enumerate(everywhere))
    if not isinstance(everywhere, dict):
        raise RowError(field, everywhere, "give an object with an entry for each image")
    known = [str(index) for index in range(num_images)]
    found: dict[str, Vector3] = {}
    for key, entry in everywhere.items():
        if str(key) not in known:
            raise RowError(field, key, f"the row has {num_images} images, counted from 0")
        if entry is not None:
            found[str(key)] = _vector(checked(_Center, entry, f"{field}.{key}").center_cam)
    return tuple(found.get(index) for index in known)


def _name(*entries: dict[str, Any]) -> str:
    """The name of the object ("bin"); empty if it is unknown or cannot be written in a detect block."""
    names = (entry.get(key) for key in ("instance_name", "label") for entry in entries)
    texts = (" ".join(name.split()) for name in names if isinstance(name, str))
    return next((text for text in texts if text.lower() not in _UNKNOWN_NAMES and _NAME.fullmatch(text)), "")


def _vector(values: Sequence[float]) -> Vector3:
    x, y, z = values
    return x, y, z
