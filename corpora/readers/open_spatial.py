"""SpatialRGPT's OpenSpatialDataset: conversations about regions of a picture.

The file is one JSON array of about 30 GB, read element by element::

    [{"filename": "da0f505346a22fa7",                             without its extension
      "conversations": [{"from": "human", "value": "<image>\\nIs <mask> <depth> wider than <mask> <depth>?"},
                        {"from": "gpt", "value": "Yes, Region [0] is wider than Region [1]."}, …],
      "bbox": [[left, top, right, bottom], …],                    pixels; one for each <mask> of the whole conversation
      "rle": [{"size": [height, width], "counts": "b:m5]?0…"}, …]}, …]

Each question with its answer is a sample. Regions are numbered within it: `Region [0]` of the data set is our
"region 1", in question and answer. An answer gets a type that a reward can compare: yes or no by its opening
("Indeed, …", "Incorrect, …"; "In fact, …" and "Actually, …" deny a question that asks for yes or no), one quantity with
a unit, or the region that it names if the question asks which of several. Other sentences are rejects; with
`keep_sentences` they are texts, for a cold start (in RL no answer would equal them).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from corpora.formats.image_files import ImageImporter
from corpora.formats.json_rows import json_array, json_lines
from corpora.formats.rle import box_around, read_rle
from corpora.layouts.marked import Turn
from corpora.rows import Raw, Reader, RowError, SampleOrReject, known_ids, samples_or_rejects, value_of
from corpora.texts.sentences import YesOrNo, asks_yes_or_no, read_one_quantity, read_yes_or_no, written_quantities
from spatial.images import ImageStore
from spatial.sample import Answer, ImageRef, NumberAnswer, ReasoningPath, Region, SpatialSample, TextAnswer, Unit

_MASK = re.compile(r"<mask>(?:\s*<depth>)?")
_REGION = re.compile(r"\bRegion \[(\d{1,3})\]", re.IGNORECASE)
_OUR_REGION = re.compile(r"\bregion (\d+)\b")
_WHICH = re.compile(r"\b(?:which|who|what)\b", re.IGNORECASE)
_DENIED = re.compile(r"\bnot\b|n['’]t\b|\bneither\b", re.IGNORECASE)
_COMPARED = re.compile(
    r"\W*region (\d+) (?:is|has|stands|appears|lies) (?:more |a |the )?(\w+)\b.*\b(?:than|compared)\b"
)
_SIDE = re.compile(r"\b(?:left|right|above|below|over|under)\b", re.IGNORECASE)
_LEVEL = re.compile(
    r"\b(?:neither|aligned|(?:same|shared|equal) (?:horizontal |vertical )?(?:elevation|level|plane|space|position"
    r"|heights?|distances?)|equivalent|no (?:horizontal|vertical) (?:hierarchy|order)|does not apply)\b",
    re.IGNORECASE,
)
_ASKS_DISTANCE = re.compile(r"\b(?:distance|far|apart|gap|distant)\b", re.IGNORECASE)
_NO_DISTANCE = re.compile(
    r"\b(?:no|zero|without(?: any)?) (?:discernible |vertical |horizontal )*(?:distance|gap|separation|space)\b",
    re.IGNORECASE,
)
_MAX_TURNS = 200
_Box = Annotated[list[float], Field(min_length=4, max_length=4)]


class OpenSpatialReader(Reader):
    """Where the rows are."""

    type: Literal["open_spatial"] = "open_spatial"
    reads: ClassVar[str] = "SpatialRGPT's OpenSpatialDataset, masks included"
    file: Path
    """A JSON array, or JSONL."""
    images: Path
    """The folder of the pictures (Open Images)."""
    suffix: str = ".jpg"
    """Suffix of the pictures' files, if `filename` has none."""
    with_masks: bool = True
    """Keep the regions' masks; false: only their boxes."""
    keep_sentences: bool = False
    """Keep sentences that state neither yes or no, nor one quantity, nor one region, as texts for a cold start."""

    def read(self, images: ImageStore) -> Iterator[SampleOrReject]:
        """A sample per question; `Reject.line` is the place of the row.

        Raises:
            FileNotFoundError: there is no such file.
        """
        importer = ImageImporter(images, self.images, self.allow_outside)
        rows = json_lines if self.file.suffix == ".jsonl" else json_array
        with known_ids() as is_new:
            for number, row in rows(self.file):
                opened: list[tuple[_Row, ImageRef, list[_Question]]] = []
                # A fault in a row is one reject; a fault in a question costs only that question.
                yield from samples_or_rejects(self.file, number, partial(_open, self, row, importer, opened), is_new)
                for raw, image, questions in opened:
                    for question in questions:
                        yield from samples_or_rejects(
                            self.file, number, partial(_samples, self, raw, image, question), is_new
                        )


class _Rle(Raw):
    size: Annotated[list[int], Field(min_length=2, max_length=2)]
    counts: str | list[int]


class _Row(Raw):
    filename: Annotated[str, Field(min_length=1)]
    conversations: Annotated[list[Turn], Field(min_length=2, max_length=2 * _MAX_TURNS)]
    bbox: list[_Box] | None = None
    rle: list[_Rle] | None = None


@dataclass(frozen=True)
class _Question:
    """A question with its answer, and the regions that they name."""

    number: int
    """Place within the conversation, from 0."""
    asked: str
    answered: str
    first_region: int
    num_regions: int


def _open(
    config: OpenSpatialReader, row: Any, importer: ImageImporter, opened: list[tuple[_Row, ImageRef, list[_Question]]]
) -> Sequence[SpatialSample]:
    raw = _Row.model_validate(value_of(row))
    questions = _questions(raw)
    num_masks = questions[-1].first_region + questions[-1].num_regions
    for field, given in (("bbox", raw.bbox or []), ("rle", raw.rle or [])):
        if len(given) != num_masks and (given or not (raw.bbox or raw.rle)):
            raise RowError(field, len(given), f"the conversation has {num_masks} <mask>; give one for each, in order")
    name = raw.filename if Path(raw.filename).suffix else raw.filename + config.suffix
    opened.append((raw, importer.put(name, "filename"), questions))
    return ()


def _questions(raw: _Row) -> list[_Question]:
    questions, first = [], 0
    turns = raw.conversations
    if len(turns) % 2:
        raise RowError("conversations", len(turns), "a question has no answer")
    for number, (asked, answered) in enumerate(zip(turns[::2], turns[1::2], strict=True)):
        if asked.speaker not in ("human", "user") or answered.speaker not in ("gpt", "assistant"):
            raise RowError(f"conversations.{2 * number}.from", asked.speaker, "give human and gpt in turn")
        num_regions = len(_MASK.findall(asked.text))
        questions.append(_Question(number, asked.text, answered.text, first, num_regions))
        first += num_regions
    return questions


def _samples(config: OpenSpatialReader, raw: _Row, image: ImageRef, question: _Question) -> Iterator[SpatialSample]:
    labels = iter(range(1, question.num_regions + 1))
    asked = _MASK.sub(lambda _: f"region {next(labels)}", question.asked.replace("<image>", "")).strip()
    field = f"conversations.{2 * question.number}.value"
    if not asked:
        raise RowError(field, question.asked, "the question is empty")
    answer = _answer(config, asked, question, f"conversations.{2 * question.number + 1}.value")
    regions = tuple(_region(config, raw, image, question, index) for index in range(question.num_regions))
    domain = config.domain or "open_spatial"
    yield SpatialSample(
        sample_id=f"{domain}/{raw.filename}/{question.number}",
        domain=domain,
        kind=answer.unit if isinstance(answer, NumberAnswer) else "qualitative",
        paths=(ReasoningPath.LOR, ReasoningPath.DTR) if regions else (ReasoningPath.LOR,),
        images=(image,),
        question=asked,
        answer=answer,
        regions=regions,
    )


def _region(config: OpenSpatialReader, raw: _Row, image: ImageRef, question: _Question, index: int) -> Region:
    place = question.first_region + index
    runs = None
    if raw.rle:
        rle = raw.rle[place]
        runs = read_rle(rle.counts, rle.size, (image.height_px, image.width_px), f"rle.{place}")
        if sum(runs[1::2]) == 0:
            raise RowError(f"rle.{place}.counts", rle.counts[:40], "the mask is empty")
    if raw.bbox:
        left, top, right, bottom = raw.bbox[place]
    else:
        assert runs is not None, "a row has bbox or rle for each mask"
        left, top, right, bottom = box_around(runs, image.height_px)
    return Region(
        mark=str(index + 1),
        box_xyxy_px=(left, top, right, bottom),
        rle_counts=runs if config.with_masks else None,
    )


def _answer(config: OpenSpatialReader, asked: str, question: _Question, field: str) -> Answer:
    def ours(match: re.Match[str]) -> str:
        if int(match[1]) >= question.num_regions:
            raise RowError(field, match[0], f"the question has {question.num_regions} regions, counted from 0")
        return f"region {int(match[1]) + 1}"

    text = _REGION.sub(ours, question.answered).strip()
    if not text:
        raise RowError(field, question.answered, "the answer is empty")
    said = read_yes_or_no(text, asked)
    if said and asks_yes_or_no(asked):
        return TextAnswer(text=said)
    if (quantity := _quantity(text, asked)) is not None:
        return quantity
    written = written_quantities(text)
    if not written and (said := said or _level(text, asked)):
        return TextAnswer(text=said)
    if not written and (region := _chosen(text, asked)):
        return TextAnswer(text=region)
    if config.keep_sentences:
        return TextAnswer(text=text)
    raise RowError(
        field, text, "a sentence, which no reward can compare; keep_sentences=true keeps it for a cold start"
    )


def _quantity(text: str, asked: str) -> NumberAnswer | None:
    """The one length (in metres), angle or hour that an answer states."""
    units: set[Unit] = {unit if unit in ("deg", "oclock") else "m" for _, unit in written_quantities(text)}
    if len(units) == 1:
        unit = units.pop()
        value = read_one_quantity(text, unit)
        return None if value is None else NumberAnswer(value=value, unit=unit)
    is_touching = not units and _NO_DISTANCE.search(text) and _ASKS_DISTANCE.search(asked)
    return NumberAnswer(value=0.0, unit="m") if is_touching else None


def _level(text: str, asked: str) -> YesOrNo | None:
    """No, if the question asks which side of another thing one is on and the sentence says that they are level."""
    return "no" if asks_yes_or_no(asked) and _SIDE.search(asked) and _LEVEL.search(text) else None


def _chosen(text: str, asked: str) -> str | None:
    """The region that answers the question which of several it is.

    A sentence names only that region, or names it as the subject of the comparison ("region 2 is closer than …").
    """
    if not _WHICH.search(asked) or len(set(_OUR_REGION.findall(asked))) < 2:
        return None
    named = set(_OUR_REGION.findall(text))
    if len(named) == 1:
        return f"region {named.pop()}" if not _DENIED.search(text) else None
    compared = _COMPARED.match(text)
    return f"region {compared[1]}" if compared and re.search(rf"\b{compared[2]}\b", asked, re.IGNORECASE) else None
