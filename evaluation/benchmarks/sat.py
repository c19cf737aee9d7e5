"""SAT (arXiv 2412.07755), the 150 questions about real images: what moved, and what one would see or reach next."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import AliasChoices, Field

from corpora.rows import Raw, RowError
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choices import ASKED_THROUGH, choice, choice_question, shares, worst
from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.benchmarks.tables import find_files, read_questions, rows_of, store_cell
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import SpatialSample


class _Row(Raw):
    pictures: list[Any] = Field(validation_alias=AliasChoices("image_bytes", "images"))
    question: str
    answers: list[str]
    correct_answer: str
    """One of `answers`, word for word."""
    question_type: str


class Sat(Benchmark):
    """Option exact. Each question is asked with its options in stored and in reverse order, as the data card demands.

    "overall" is the mean over both orders, "both_orders" the share of questions that are right in both.
    """

    name = "sat"
    title = "SAT"
    layout = (
        "give the folder that holds SAT_test.parquet (data set array/SAT), or data/test-*.parquet (array/SAT-v2, the "
        "same questions)"
    )
    data_set = "`array/SAT` or `array/SAT-v2`, the 150 real questions"
    figures = "mean over both orders of the options; `both_orders`"

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        for file in find_files(folder, ("SAT_test.parquet", "data/test-*.parquet"), self.layout):
            yield from read_questions(file, rows_of(file), partial(self._questions, images, file))

    def _questions(self, images: ImageStore, file: Path, number: int, row: Any) -> Iterator[Question]:
        raw = _Row.model_validate(row)
        if raw.correct_answer not in raw.answers:
            raise RowError("correct_answer", raw.correct_answer, f"it is none of the answers {raw.answers}")
        pictures = tuple(
            store_cell(images, cell, f"images.{index}", file.parent) for index, cell in enumerate(raw.pictures)
        )
        item = f"{self.name}-{file.stem}-{number}"
        for variant, options in (("stored order", raw.answers), ("reverse order", raw.answers[::-1])):
            sample = SpatialSample(
                sample_id=f"{item}-{variant.split()[0]}",
                domain=self.name,
                kind=raw.question_type,
                paths=ASKED_THROUGH,
                images=pictures,
                question=choice_question(raw.question, options),
                answer=choice(options, options.index(raw.correct_answer)),
            )
            yield Question(sample, task=raw.question_type, item=item, variant=variant)

    def summarise(self, scored: Sequence[ScoredAnswer]) -> dict[str, float]:
        figures = shares(scored)
        if scored:
            figures["both_orders"] = fmean(each.score for each in worst(scored, lambda each: each.question.item))
        return figures
