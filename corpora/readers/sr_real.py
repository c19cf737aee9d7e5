"""SR-REAL's RL format: JSON lines or one JSON array, marks by colour as in `corpora.layouts.marked`.

Besides its mark by colour, an object may have a box (`corpora.layouts.region_boxes`), which is then its region: the
mark says where the object is drawn, the box what it covers. `<mask>` placeholders tie boxes to marks
(`corpora.texts.placeholders`). Rows from SpatialRGPT have only boxes, as regions by number. `3d_pos` holds the true
centres (`corpora.layouts.centers`). Depth maps are ignored: they are relative, with 8 bits.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from corpora.formats.image_files import ImageImporter
from corpora.formats.json_rows import json_rows
from corpora.layouts.centers import frames_of, with_centers
from corpora.layouts.marked import (
    COLOURS,
    TASK_UNITS,
    MarkedReader,
    MarkedRow,
    answer_of,
    check_named,
    num_questions,
    regions_of,
    unpacked,
)
from corpora.layouts.region_boxes import BoxUnit, PlacedBox, boxes_of
from corpora.rows import RowError, SampleOrReject, known_ids, samples_or_rejects, value_of
from corpora.texts.placeholders import label
from spatial.images import ImageStore
from spatial.sample import Mark, ReasoningPath, Region, SpatialSample, Unit


class SrRealReader(MarkedReader):
    """Where the rows are."""

    type: Literal["sr_real"] = "sr_real"
    reads: ClassVar[str] = "SR-REAL's RL rows: marks by colour, their boxes, their centres"
    file: Path
    """JSONL, or a JSON array."""
    images: Path
    """The folder that image names are relative to."""
    unit: Unit = "m"
    """Unit of bare numbers in answers, if the question names none."""
    boxes: BoxUnit = "pixels"
    """Unit of `bbox`: pixels of `image_hw` (without it, of the image), or thousandths of the image's sides. Marks by
    colour are always thousandths."""
    with_centers: bool = True
    """Use `3d_pos` as the true centres of regions; without centres, DTR gets no reward for them."""

    def read(self, images: ImageStore) -> Iterator[SampleOrReject]:
        """A sample per question; `Reject.line` is the line, or the place in the array.

        Raises:
            FileNotFoundError: there is no such file.
        """
        importer = ImageImporter(images, self.images, self.allow_outside)
        with known_ids() as is_new:
            for number, packed in json_rows(self.file):
                row = unpacked(packed)
                for place in range(num_questions(row)):
                    yield from samples_or_rejects(
                        self.file, number, partial(_samples, self, number, row, place, importer), is_new
                    )


def _samples(
    config: SrRealReader, number: int, row: Any, place: int, importer: ImageImporter
) -> Iterator[SpatialSample]:
    """The sample of the row's question number `place`."""
    row = value_of(row)
    if not isinstance(row, dict):
        raise RowError("row", row, "give an object with conversations and image")
    raw = MarkedRow.model_validate(row)
    refs = tuple(importer.put(name, f"image.{index}") for index, name in enumerate(raw.image_names))
    boxes = boxes_of(row, refs, config.boxes)
    labelled = label([turn.text for turn in raw.conversations], _coloured(raw), len(boxes))
    images_of_marks = frames_of(row.get("3d_pos")) | {
        mark: box.image_index for mark, box in zip(labelled.marks, boxes, strict=False)
    }
    raw = _completed(raw, labelled.texts, images_of_marks)
    question, written = raw.question_and_answer(place)
    regions = _boxed(regions_of(raw, config, question, refs), labelled.marks, boxes)
    check_named(raw, place, regions)
    if config.with_centers:
        regions = with_centers(row.get("3d_pos"), regions, len(refs))
    regions = _asked_about(regions, question, num_questions(row))
    turn = f"-{place + 1}" if place else ""
    yield SpatialSample(
        sample_id=f"{config.domain or 'sr_real'}/{number if raw.id is None else raw.id}{turn}",
        domain=config.domain or "sr_real",
        kind=raw.type or raw.format_type or "unknown",
        paths=(ReasoningPath.LOR, ReasoningPath.DTR) if regions else (ReasoningPath.LOR,),
        images=refs,
        question=question,
        answer=answer_of(written, question, TASK_UNITS.get(raw.task, config.unit), config),
        regions=regions,
    )


def _coloured(raw: MarkedRow) -> tuple[Mark, ...]:
    return tuple(c for c in COLOURS if getattr(raw, f"{c}_point") or getattr(raw, f"{c}_bbox"))


def _completed(raw: MarkedRow, texts: Sequence[str], images_of_marks: Mapping[Mark, int]) -> MarkedRow:
    """The row with labels in its texts, and with the images of its marks if `…_img_idx` is missing."""
    turns = (turn.model_copy(update={"text": text}) for turn, text in zip(raw.conversations, texts, strict=True))
    changes: dict[str, Any] = {"conversations": list(turns)}
    known = {mark: index for mark, index in images_of_marks.items() if 0 <= index < len(raw.image_names)}
    for kind in ("point", "bbox"):
        marks = [colour for colour in raw.order if getattr(raw, f"{colour}_{kind}")]
        if not getattr(raw, f"{kind}_img_idx") and any(mark in known for mark in marks):
            changes[f"{kind}_img_idx"] = [known.get(mark, 0) for mark in marks]
    return raw.model_copy(update=changes)


def _boxed(regions: tuple[Region, ...], marks: Sequence[Mark], boxes: Sequence[PlacedBox]) -> tuple[Region, ...]:
    """The regions with the boxes of their marks, and the regions that have only a box.

    Raises:
        RowError: two boxes, or a box and a mark, of one object are at different places.
    """
    by_mark = {region.mark: region for region in regions}
    seen: dict[Mark, PlacedBox] = {}
    for place, (mark, box) in enumerate(zip(marks, boxes, strict=False)):
        if seen.setdefault(mark, box) != box:
            raise RowError(f"bbox.{place}", list(box.box_xyxy_px), f"a second box for {mark}, at another place")
        known = by_mark.get(mark)
        if known is not None and not _meet(known, box):
            advice = f"the {known.label} lies elsewhere (on image {known.image_index}); check image_hw and mask_idx"
            raise RowError(f"bbox.{place}", [round(side) for side in box.box_xyxy_px], advice)
        by_mark[mark] = Region(
            mark=mark, image_index=box.image_index, box_xyxy_px=box.box_xyxy_px, rle_counts=box.rle_counts
        )
    return tuple(by_mark.values())


def _meet(region: Region, box: PlacedBox) -> bool:
    left, top, right, bottom = region.box_xyxy_px
    other = box.box_xyxy_px
    return region.image_index == box.image_index and (
        left <= other[2] and other[0] <= right and top <= other[3] and other[1] <= bottom
    )


def _asked_about(regions: tuple[Region, ...], question: str, num_questions: int) -> tuple[Region, ...]:
    """The regions of one question: of the conversation's numbered regions, those that it names.

    Raises:
        RowError: the only question of a row names none of them.
    """
    numbered = [region for region in regions if region.mark.isdigit()]
    named = [region for region in numbered if re.search(rf"\b{region.label}\b", question)]
    if numbered and not named and num_questions == 1:
        raise RowError("conversations", question, "the question names no region; write <mask> where each is mentioned")
    keep = numbered if num_questions == 1 else named
    return tuple(region for region in regions if region in keep or not region.mark.isdigit())
