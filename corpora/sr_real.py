"""SR-REAL's RL format: a JSON object a line or an array of them, marks by colour as in `corpora.marked`.

Beside these, rows from SpatialRGPT carry `bbox`, a list of boxes (thousandths, or pixels of `image_hw`), and
`mask_idx`, the image of each. They are marked by number, in order, and the question's `<mask>` placeholders become
their labels. `3d_pos` is taken as the regions' centres (metres, camera frame; with several images, that of the first)
where it is a list of as many triples as there are regions. No public description of the set fixes this, so
`with_centers` can leave it out; anything else in its place, such as a file of features, is left alone, and so is
`depth`.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from pydantic import Field

from corpora.grounding import checked
from corpora.marked import MarkedReader, MarkedRow, Turn, answer_of, num_questions, regions_of
from corpora.rows import ImageImporter, Item, Raw, RowError, items, json_array, json_lines, known_ids, value_of
from spatial.images import ImageStore
from spatial.sample import ImageRef, Path, Region, SpatialSample, Unit, Vector3

_MASK = re.compile(r"<mask>(?:\s*<depth>)?|<region>")
_Numbers = Annotated[list[float], Field(min_length=4, max_length=4)]
_Triple = Annotated[list[float], Field(min_length=3, max_length=3)]


class SrRealReader(MarkedReader):
    """Where the rows are."""

    type: Literal["sr_real"] = "sr_real"
    file: FilePath
    """JSONL, or a JSON array."""
    images: FilePath
    """The folder that image names start from."""
    unit: Unit = "m"
    """Of bare numbers in answers."""
    boxes: Literal["thousandths", "pixels"] = "thousandths"
    """What `bbox` counts in; marks by colour are thousandths always."""
    with_centers: bool = True
    """Take `3d_pos` as the true centres of regions; without them, DTR is not rewarded for its centres."""


class _Boxes(Raw):
    bbox: Annotated[list[_Numbers], Field(max_length=99)]
    mask_idx: list[int] | None = None
    image_hw: list[float] | list[list[float]] | None = None


class _Centers(Raw):
    centers_m: list[_Triple]


def read(config: SrRealReader, images: ImageStore) -> Iterator[Item]:
    """A sample a question; `Reject.line` is the line, or the place in the array.

    Raises:
        FileNotFoundError: there is no such file.
    """
    importer = ImageImporter(images, config.images, config.allow_outside)
    with known_ids() as is_new:
        for number, row in _rows(config.file):
            for place in range(num_questions(row)):
                yield from items(config.file, number, partial(_samples, config, number, row, place, importer), is_new)


def _rows(file: FilePath) -> Iterator[tuple[int, Any | RowError]]:
    with file.open("rb") as content:
        is_array = content.read(1024).lstrip()[:1] == b"["
    return json_array(file) if is_array else json_lines(file)


def _samples(
    config: SrRealReader, number: int, row: Any, place: int, importer: ImageImporter
) -> Iterator[SpatialSample]:
    """Of the question at `place` among the row's."""
    row = value_of(row)
    if not isinstance(row, dict):
        raise RowError("row", row, "give an object with conversations and image")
    raw = MarkedRow.model_validate(row)
    refs = tuple(importer.put(name, f"image.{index}") for index, name in enumerate(raw.image_names))
    boxed = _boxed(config, row, refs)
    if boxed:
        raw = raw.model_copy(update={"conversations": _labelled(raw, boxed)})
    question, written = raw.question_and_answer(place)
    marked = regions_of(raw, config, question, refs)
    if boxed and marked:
        raise RowError("bbox", len(boxed), "the row has marks by colour and by number; give one kind")
    regions = _with_centers(row, boxed or marked) if config.with_centers else boxed or marked
    turn = f"-{place + 1}" if place else ""
    yield SpatialSample(
        sample_id=f"{config.domain or 'sr_real'}/{number if raw.id is None else raw.id}{turn}",
        domain=config.domain or "sr_real",
        kind=raw.type or raw.format_type or "unknown",
        paths=(Path.LOR, Path.DTR) if regions else (Path.LOR,),
        images=refs,
        question=question,
        answer=answer_of(written, question, config.unit, config),
        regions=regions,
    )


def _boxed(config: SrRealReader, row: dict[str, Any], images: Sequence[ImageRef]) -> tuple[Region, ...]:
    if not row.get("bbox"):
        return ()
    raw = checked(_Boxes, row, "")
    indices = raw.mask_idx or [0] * len(raw.bbox)
    if len(indices) != len(raw.bbox):
        raise RowError("mask_idx", indices, f"give the image of each of {len(raw.bbox)} boxes")
    regions = []
    for place, (box, index) in enumerate(zip(raw.bbox, indices, strict=True)):
        if not 0 <= index < len(images):
            raise RowError(f"mask_idx.{place}", index, f"the row has {len(images)} images")
        width, height = _sides(config, raw, images[index], index)
        image = images[index]
        left, top, right, bottom = box
        scaled = (
            left / width * image.width_px,
            top / height * image.height_px,
            right / width * image.width_px,
            bottom / height * image.height_px,
        )
        regions.append(Region(mark=str(place + 1), image_index=index, box_xyxy_px=scaled))
    return tuple(regions)


def _sides(config: SrRealReader, raw: _Boxes, image: ImageRef, index: int) -> tuple[float, float]:
    """Width and height in what boxes count in; `image_hw` is the image's size when the boxes were written."""
    if config.boxes == "thousandths":
        return 1000.0, 1000.0
    sizes = raw.image_hw
    if not sizes:
        return float(image.width_px), float(image.height_px)
    size = sizes[min(index, len(sizes) - 1)] if isinstance(sizes[0], list) else sizes
    if not isinstance(size, list) or len(size) != 2 or min(size) <= 0:
        raise RowError("image_hw", sizes, "give height and width in pixels")
    height, width = size
    return float(width), float(height)


def _labelled(raw: MarkedRow, regions: Sequence[Region]) -> list[Turn]:
    """The turns, with the regions' labels where their placeholders stood."""
    num_places = sum(len(_MASK.findall(turn.text)) for turn in raw.conversations)
    if num_places not in (0, len(regions)):
        raise RowError("conversations", num_places, f"there are {len(regions)} boxes; give a placeholder for each")
    labels = iter(region.label for region in regions)
    return [
        turn.model_copy(update={"text": _MASK.sub(lambda _: next(labels), turn.text)}) for turn in raw.conversations
    ]


def _with_centers(row: dict[str, Any], regions: tuple[Region, ...]) -> tuple[Region, ...]:
    value = row.get("3d_pos")
    if not isinstance(value, list) or any(isinstance(at, str) for at in value) or not regions:
        return regions
    centers = checked(_Centers, {"centers_m": value}, "3d_pos").centers_m
    if len(centers) != len(regions):
        raise RowError("3d_pos", len(centers), f"give a centre for each of {len(regions)} regions")
    return tuple(region.replace(center_m=_vector(at)) for region, at in zip(regions, centers, strict=True))


def _vector(values: list[float]) -> Vector3:
    x, y, z = values
    return x, y, z
