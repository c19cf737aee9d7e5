"""The boxes of the `<mask>` placeholders of a row, in the form of SR-REAL and SR-3D.

::

    "bbox": [[684, 360, 749, 408], …]                           one image, or `mask_idx: [0, 1, …]`, the image of each
    "bbox": {"0": [], "1": [[684, 360, 749, 408]]},              several: by image, and for each placeholder in turn
    "mask_idx": {"0": [1, 0]}                                       its image and its place among that image's boxes
    "image_hw": [968, 1296]                                        what boxes are pixels of, or a pair for each image

A box of six numbers contains the height and width that it refers to. `rle` are masks next to the boxes, or instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from corpora.formats.rle import box_around, read_rle
from corpora.rows import Raw, RowError, checked, counts_in_parts_of_one
from spatial.sample import ImageRef

BoxUnit = Literal["pixels", "thousandths"]
Box = tuple[float, float, float, float]
_Numbers = Annotated[list[float], Field(min_length=4, max_length=6)]
_Index = Annotated[int, Field(ge=0)]
_MAX_OVERSHOOT = 0.05
"""A box may extend beyond its image by this share of its sides, and is clipped; beyond that, its unit is wrong."""


class _Rle(Raw):
    size: Annotated[list[int], Field(min_length=2, max_length=2)]
    counts: str | list[int]


class _Boxes(Raw):
    bbox: Annotated[list[_Numbers], Field(max_length=99)] | dict[str, list[_Numbers] | None] | _Numbers | None = None
    mask_idx: (
        int
        | list[_Index]
        | list[Annotated[list[_Index], Field(min_length=2, max_length=2)]]
        | dict[str, Annotated[list[_Index], Field(min_length=2, max_length=2)] | None]
        | None
    ) = None
    image_hw: list[float] | list[list[float]] | dict[str, list[float]] | None = None
    rle: Annotated[list[_Rle], Field(max_length=99)] | None = None


@dataclass(frozen=True)
class PlacedBox:
    """The box that a placeholder stands for."""

    image_index: int
    box_xyxy_px: Box
    rle_counts: tuple[int, ...] | None = None


def boxes_of(row: dict[str, Any], images: Sequence[ImageRef], unit: BoxUnit) -> tuple[PlacedBox, ...]:
    """The boxes of a row in the order of its placeholders; empty if it has none.

    Raises:
        RowError: a box is on no image of the row or does not fit it, or `mask_idx` does not say which box is meant.
    """
    raw = checked(_Boxes, row, "")
    if not raw.bbox:
        return _around_masks(raw, images)
    placed = _by_image(raw.bbox, raw.mask_idx) if isinstance(raw.bbox, dict) else _in_order(raw.bbox, raw.mask_idx)
    for place, (index, _, _) in enumerate(placed):
        if index >= len(images):
            raise RowError(f"mask_idx.{place}", index, f"the row has {len(images)} images")
    if raw.rle and len(raw.rle) != len(placed):
        raise RowError("rle", len(raw.rle), f"give a mask for each of {len(placed)} boxes")
    return tuple(
        PlacedBox(
            index,
            _in_pixels(numbers, field, _sides(raw, numbers, images[index], index, unit), images[index]),
            _mask(raw.rle[place], place, images[index]) if raw.rle else None,
        )
        for place, (index, numbers, field) in enumerate(placed)
    )


def _in_order(given: list[Any], mask_idx: Any) -> list[tuple[int, list[float], str]]:
    """Boxes in a list, each with its image; the first image if `mask_idx` does not say."""
    boxes: list[list[float]] = given if isinstance(given[0], list) else [given]
    if isinstance(mask_idx, int):  # the number of boxes
        mask_idx = None if mask_idx == len(boxes) else [0] * mask_idx
    indices = mask_idx or [0] * len(boxes)
    if isinstance(indices, dict) or any(isinstance(index, list) for index in indices):
        pairs = list(indices.values()) if isinstance(indices, dict) else indices
        # All on one image, whose boxes these are.
        if {pair[0] for pair in pairs if pair} != {0} or any(pair[1] >= len(boxes) for pair in pairs if pair):
            raise RowError("mask_idx", mask_idx, f"speaks of other boxes than the list of {len(boxes)}")
        return [(0, boxes[pair[1]], f"bbox.{pair[1]}") for pair in pairs if pair]
    if len(indices) != len(boxes):
        raise RowError("mask_idx", indices, f"give the image of each of {len(boxes)} boxes")
    return [(index, box, f"bbox.{n}") for n, (index, box) in enumerate(zip(indices, boxes, strict=True))]


def _by_image(boxes: dict[str, list[list[float]] | None], mask_idx: Any) -> list[tuple[int, list[float], str]]:
    """Boxes by their image, in the order of `mask_idx`; without it, there may be only one box."""
    there: dict[int, list[list[float]]] = {}
    for key, found in boxes.items():
        if not key.isdecimal():
            raise RowError("bbox", key, "boxes are told apart by their image, counted from 0")
        there[int(key)] = found or []
    # [0, 0, 0, 0] stands for an image without boxes.
    real = {(index, n) for index, found in there.items() for n, box in enumerate(found) if any(box)}
    if mask_idx and not isinstance(mask_idx, int):
        entries = mask_idx.items() if isinstance(mask_idx, dict) else enumerate(mask_idx)
        numbered = sorted((int(key), pair) for key, pair in entries if pair is not None and str(key).isdecimal())
        order = [(pair[0], pair[1]) if isinstance(pair, list) else (pair, 0) for _, pair in numbered]
    elif len(real) <= 1:
        order = list(real)
    else:
        raise RowError("mask_idx", mask_idx, f"there are {len(real)} boxes; say which each <mask> is")
    if missing := [pair for pair in order if pair[0] not in there or pair[1] >= len(there[pair[0]])]:
        raise RowError(
            "mask_idx", list(missing[0]), "there is no such box: give its image and its place among its boxes"
        )
    if left := real - set(order):
        raise RowError("mask_idx", sorted(left)[0], "a box that no <mask> stands for: give its image and its place")
    return [(index, there[index][n], f"bbox.{index}.{n}") for index, n in order]


def _sides(raw: _Boxes, box: list[float], image: ImageRef, index: int, unit: BoxUnit) -> tuple[float, float]:
    """Width and height of the image, in the unit of a box."""
    if unit == "thousandths":
        return 1000.0, 1000.0
    sizes: Any = raw.image_hw
    if len(box) == 6:
        sizes = box[4:]
    elif not sizes:
        return float(image.width_px), float(image.height_px)
    elif isinstance(sizes, dict):
        sizes = sizes.get(str(index))
    elif isinstance(sizes[0], list):
        sizes = sizes[0] if len(sizes) == 1 else sizes[index] if index < len(sizes) else None
    if not isinstance(sizes, list) or len(sizes) != 2 or min(sizes) <= 0:
        raise RowError("image_hw", raw.image_hw, f"give height and width in pixels, of image {index}")
    height, width = sizes
    if (height, width) == (image.width_px, image.height_px) and height != width:
        raise RowError("image_hw", sizes, f"is width and height of the image; give height {width:g}, width {height:g}")
    return float(width), float(height)


def _in_pixels(box: list[float], field: str, sides: tuple[float, float], image: ImageRef) -> Box:
    """A box in its image's own pixels, clipped at its border."""
    if len(box) == 5:
        raise RowError(field, box, "give left, top, right and bottom, or with them the image's height and width")
    if counts_in_parts_of_one(box):
        raise RowError(
            field, box, "counts in parts of the image's sides, 0 to 1; give pixels, or thousandths (boxes=thousandths)"
        )
    width, height = sides
    # Multiply before dividing: integers stay integers.
    left, right = (x * image.width_px / width for x in (box[0], box[2]))
    top, bottom = (y * image.height_px / height for y in (box[1], box[3]))
    beyond_x, beyond_y = _MAX_OVERSHOOT * image.width_px, _MAX_OVERSHOOT * image.height_px
    if not (
        -beyond_x <= left
        and right <= image.width_px + beyond_x
        and -beyond_y <= top
        and bottom <= image.height_px + beyond_y
    ):
        raise RowError(field, box, f"lies outside its image of {width:g}x{height:g} (boxes: pixels of image_hw)")
    left, top = max(0.0, left), max(0.0, top)
    right, bottom = min(float(image.width_px), right), min(float(image.height_px), bottom)
    if left >= right or top >= bottom:
        raise RowError(field, box, "has no area; give left, top, right and bottom")
    return left, top, right, bottom


def _around_masks(raw: _Boxes, images: Sequence[ImageRef]) -> tuple[PlacedBox, ...]:
    """The boxes around masks of the first image that have no boxes of their own."""
    masks = [_mask(rle, place, images[0]) for place, rle in enumerate(raw.rle or ())]
    return tuple(PlacedBox(0, box_around(mask, images[0].height_px), mask) for mask in masks)


def _mask(rle: _Rle, place: int, image: ImageRef) -> tuple[int, ...]:
    runs = read_rle(rle.counts, rle.size, (image.height_px, image.width_px), f"rle.{place}")
    if sum(runs[1::2]) == 0:
        raise RowError(f"rle.{place}.counts", str(rle.counts)[:40], "the mask is empty")
    return runs
