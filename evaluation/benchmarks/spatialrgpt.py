"""SpatialRGPT-Bench (arXiv 2406.01584): relations of marked regions, and their distances, sizes and directions.

The truths are sentences ("Region [0] and Region [1] are 11.4 meters apart."), and the published script lets GPT-4
compare answers with them. Here there is no judge model. When they are loaded, truths are read by rule as a length in
metres, an hour of the clock, yes or no, or a region; any other sentence is a reject. Questions ask for exactly that,
and answers are compared with it. Figures therefore differ from published ones wherever a judge is more lenient than
these rules, or makes an error.

Regions are numbered from 1, as everywhere here: the data set's "Region [0]" is "region 1" in a question.
"""

import ast
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from corpora.formats.rle import read_rle
from corpora.rows import Raw, RowError
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choices import shares
from evaluation.benchmarks.measures import read_measure
from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.benchmarks.scoring import hours_apart, is_within_a_quarter, relative_error
from evaluation.benchmarks.tables import find_files, read_questions, rows_of, store_cell
from evaluation.benchmarks.verdicts import REGIONS, read_region, read_yes_or_no
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import Answer, ImageRef, NumberAnswer, ReasoningPath, Region, SpatialSample, TextAnswer

LENGTHS: Mapping[str, str] = {
    "distance_data": "direct_distance",
    "horizontal_distance_data": "horizontal_distance",
    "vertical_distance_data": "vertical_distance",
    "width_data": "width",
    "height_data": "height",
}
"""Categories that ask for a length, with the paper's names of the tasks."""

RELATIONS: Mapping[str, str] = {
    **dict.fromkeys(("below", "above"), "below_above"),
    **dict.fromkeys(("left", "right"), "left_right"),
    **dict.fromkeys(("big", "small"), "big_small"),
    **dict.fromkeys(("tall", "short"), "tall_short"),
    **dict.fromkeys(("wide", "thin"), "wide_thin"),
    **dict.fromkeys(("behind", "front"), "behind_front"),
}
"""The tasks of "left_choice" (which of two?), "left_predicate" (is it?) and the like, by their first word."""

MAX_HOURS_APART = 1.0
_PATHS = (ReasoningPath.LOR, ReasoningPath.DTR, ReasoningPath.DIRECT)
_MAX_LITERAL_CHARS = 2**20
_NAMED = re.compile(r"\bregions?\s*\[?\s*([0-9]{1,2})\b\s*\]?", re.IGNORECASE)
"""A region in questions of the data set, counted from 0."""


def _from_text(value: Any) -> Any:
    """The value of a cell that a table stores as the text of a Python literal."""
    if not isinstance(value, str) or len(value) > _MAX_LITERAL_CHARS:
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


class _Turn(Raw):
    value: str


class _QuestionInfo(Raw):
    type: str
    category: str


class _Picture(Raw):
    file_path: str = ""


class _Mask(Raw):
    size: Annotated[list[int], Field(min_length=2, max_length=2)]
    """Height, width."""
    counts: str


_Box = Annotated[list[float], Field(min_length=4, max_length=4)]


class _Row(Raw):
    id: str
    text_q: str
    conversations: Annotated[list[_Turn], Field(min_length=2), BeforeValidator(_from_text)]
    qa_info: Annotated[_QuestionInfo, BeforeValidator(_from_text)]
    bbox: Annotated[list[_Box], Field(min_length=1, max_length=99), BeforeValidator(_from_text)]
    """Left, top, right, bottom, in pixels."""
    rle: Annotated[list[_Mask] | None, BeforeValidator(_from_text)] = None
    image: Any = None
    """The image, in the parquet files; other rows name a file of this data set or of Omni3D."""
    file_path: str = ""
    image_info: Annotated[_Picture | None, BeforeValidator(_from_text)] = None


class SpatialRgpt(Benchmark):
    """Lengths: success within a quarter of the truth; directions: within an hour; relations: right or wrong, by rule.

    "overall" is the mean over questions, "source/qualitative" and "source/quantitative" over those of each type;
    "error/TASK" is the mean absolute relative error (for directions: in hours) of the answers that could be read.
    """

    name = "spatialrgpt"
    title = "SpatialRGPT-Bench"
    layout = (
        "give the folder that holds data/val-*.parquet, or SpatialRGPT-Bench_v1.json and images/ (both in data set "
        "a8cheng/SpatialRGPT-Bench)"
    )
    data_set = "`a8cheng/SpatialRGPT-Bench`"
    answer_rule = (
        "length: success if 0.75·g ≤ p ≤ 1.25·g; direction: within an hour, mod 12; relation: yes, no or a "
        "region, by rule"
    )
    figures = (
        "mean over questions; by task, `source/qualitative`, `source/quantitative`; `error/TASK`: mean absolute "
        "relative error (directions: hours)"
    )

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        for file in find_files(folder, ("data/val-*.parquet", "SpatialRGPT-Bench_v1.json"), self.layout):
            yield from read_questions(file, rows_of(file), partial(self._questions, images, folder))

    def _questions(self, images: ImageStore, folder: Path, number: int, row: Any) -> Iterator[Question]:
        raw = _Row.model_validate(row)
        task = _task(raw.qa_info.category)
        answer, wish = _truth(raw)
        image = _image(images, raw, folder)
        question = _NAMED.sub(lambda match: f"region {int(match[1]) + 1}", raw.text_q.strip())
        sample = SpatialSample(
            sample_id=f"{self.name}-{raw.id}",
            domain=self.name,
            kind=task,
            paths=_PATHS,
            images=(image,),
            question=f"{question}\n{wish}",
            answer=answer,
            regions=tuple(_region(raw, place, image) for place in range(len(raw.bbox))),
        )
        yield Question(sample, task=task, source="qualitative" if isinstance(answer, TextAnswer) else "quantitative")

    def score(self, question: Question, answer: str | None) -> ScoredAnswer:
        truth = question.sample.answer
        if isinstance(truth, TextAnswer):
            read = read_region if truth.text.startswith("region") else read_yes_or_no
            return ScoredAnswer(question, answer, float(answer is not None and read(answer) == truth.text))
        assert isinstance(truth, NumberAnswer), truth
        # Numbers of regions that an answer mentions are not measures.
        value = None if answer is None else read_measure(REGIONS.sub("", answer), truth.unit)
        if truth.unit == "oclock":
            if value is None or value not in range(1, 13):
                return ScoredAnswer(question, answer, 0.0)
            apart_h = hours_apart(value, truth.value)
            return ScoredAnswer(question, answer, float(apart_h <= MAX_HOURS_APART), extra={"error": apart_h})
        if value is None:
            return ScoredAnswer(question, answer, 0.0)
        error = relative_error(value, truth.value)
        return ScoredAnswer(question, answer, float(is_within_a_quarter(value, truth.value)), extra={"error": error})

    def summarise(self, scored: Sequence[ScoredAnswer]) -> dict[str, float]:
        figures = shares(scored)
        for task in (*LENGTHS.values(), "direction"):
            if errors := [each.extra["error"] for each in scored if each.question.task == task and each.extra]:
                figures[f"error/{task}"] = fmean(errors)
        return figures


def _task(category: str) -> str:
    """
    Raises:
        RowError: the benchmark has no such category.
    """
    word, _, form = category.partition("_")
    task = RELATIONS.get(word) if form in ("choice", "predicate") else LENGTHS.get(category)
    if task is None and category != "direction":
        raise RowError("qa_info.category", category, "it is none of the benchmark's categories")
    return task or "direction"


def _truth(raw: _Row) -> tuple[Answer, str]:
    """The truth in the row's sentence, and the instruction that asks for it.

    Raises:
        RowError: it cannot be read.
    """
    sentence, category = raw.conversations[1].value, raw.qa_info.category
    if category in LENGTHS or category == "direction":
        is_length = category in LENGTHS
        value = read_measure(REGIONS.sub("", sentence), "m" if is_length else "oclock")
        if value is None or (value < 0 if is_length else value not in range(1, 13)):
            advice = "it gives no length" if is_length else "it gives no hour of the clock"
            raise RowError("conversations.1", sentence, advice)
        if is_length:
            return NumberAnswer(value=value, unit="m"), "Answer with a number in metres."
        return NumberAnswer(value=value, unit="oclock"), "Answer with an hour of the clock, 1 to 12."
    if category.endswith("_choice"):
        region = read_region(sentence)
        place = -1 if region is None else int(region.removeprefix("region "))
        if not 0 <= place < len(raw.bbox):
            raise RowError("conversations.1", sentence, f"it names none of the {len(raw.bbox)} regions")
        return TextAnswer(text=f"region {place + 1}"), 'Answer with one of the regions, such as "region 1".'
    said = read_yes_or_no(sentence)
    if said is None:
        raise RowError("conversations.1", sentence, "it says neither yes nor no")
    return TextAnswer(text=said), "Answer yes or no."


def _image(images: ImageStore, raw: _Row, folder: Path) -> ImageRef:
    """The row's image: its bytes, or the file that it names, in the folder or its `images/`."""
    if isinstance(raw.image, dict) and raw.image.get("bytes"):
        return store_cell(images, raw.image, "image", folder)
    name = raw.file_path or (raw.image_info.file_path if raw.image_info else "")
    root = folder if os.path.isfile(folder / name) else folder / "images"
    return store_cell(images, {"path": name}, "file_path", root)


def _region(raw: _Row, place: int, image: ImageRef) -> Region:
    """Region `place`, counted from 0: its box, clipped at the image's border, and its mask if there is one.

    Boxes of the data set may extend beyond the image; its script clips them, too.
    """
    left, top, right, bottom = raw.bbox[place]
    width, height = float(image.width_px), float(image.height_px)
    box = (max(0.0, left), max(0.0, top), min(width, right), min(height, bottom))
    counts = None
    if raw.rle:
        if len(raw.rle) != len(raw.bbox):
            raise RowError("rle", len(raw.rle), f"there are {len(raw.bbox)} boxes")
        mask = raw.rle[place]
        counts = read_rle(mask.counts, mask.size, (image.height_px, image.width_px), f"rle.{place}")
    return Region(mark=str(place + 1), box_xyxy_px=box, rle_counts=counts)
