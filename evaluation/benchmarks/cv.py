"""CV-Bench (arXiv 2406.16860): counting and relations in 2D, order of depth and distance in 3D.

Boxes that 3D questions mention are drawn in the images. Nothing is asked through DTR, because the rows do not say which
box has which colour.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from corpora.rows import Raw
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choices import ASKED_THROUGH, choice_by_letter, choice_question, shares
from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.benchmarks.tables import find_files, read_questions, rows_of, store_cell
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import SpatialSample


class _Row(Raw):
    idx: int
    type: Literal["2D", "3D"]
    task: str
    """Count, Relation, Depth or Distance."""
    question: str
    choices: list[str]
    answer: str
    """ "(C)"."""
    source: Literal["ADE20K", "COCO", "Omni3D"]
    image: Any = None
    """The image, in the parquet files; rows of JSON lines name a file."""
    filename: str = ""
    """Relative to the data set's folder ("img/2D/count/ade20k_10.png")."""


class CvBench(Benchmark):
    """Option exact. "overall" is ½·((ADE20K + COCO)/2 + Omni3D), "2D" and "3D" are its halves.

    A source without questions (possible with a limit) is left out of the means.
    """

    name = "cv"
    title = "CV-Bench"
    layout = (
        "give the folder that holds test_2d.parquet and test_3d.parquet, or test.jsonl and img/ (both in data set "
        "nyu-visionx/CV-Bench)"
    )
    data_set = "`nyu-visionx/CV-Bench`"
    figures = "½·((ADE20K + COCO)/2 + Omni3D); `2D`, `3D`; by task and source"

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        for file in find_files(folder, ("test_[23]d.parquet", "test.parquet", "test.jsonl"), self.layout):
            yield from read_questions(file, rows_of(file), partial(self._questions, images, folder))

    def _questions(self, images: ImageStore, folder: Path, number: int, row: Any) -> Iterator[Question]:
        raw = _Row.model_validate(row)
        sample = SpatialSample(
            sample_id=f"{self.name}-{raw.type}-{raw.idx}",
            domain=self.name,
            kind=raw.task,
            paths=ASKED_THROUGH,
            images=(store_cell(images, raw.image or {"path": raw.filename}, "image", folder),),
            question=choice_question(raw.question, raw.choices),
            answer=choice_by_letter(raw.choices, raw.answer),
        )
        yield Question(sample, task=raw.task, source=raw.source)

    def summarise(self, scored: Sequence[ScoredAnswer]) -> dict[str, float]:
        figures = shares(scored)
        halves = {
            half: fmean(given)
            for half, sources in (("2D", ("ADE20K", "COCO")), ("3D", ("Omni3D",)))
            if (given := list(_given(figures, sources)))
        }
        return {**figures, **halves, "overall": fmean(halves.values())} if halves else {}


def _given(figures: dict[str, float], sources: Iterable[str]) -> Iterator[float]:
    return (figures[f"source/{source}"] for source in sources if f"source/{source}" in figures)
