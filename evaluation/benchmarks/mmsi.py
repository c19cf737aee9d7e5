"""MMSI-Bench (arXiv 2505.23764): 1,000 questions written by people, each about two or more images."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from corpora.rows import Raw, RowError
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choices import ASKED_THROUGH, choice_question
from evaluation.benchmarks.question import Question
from evaluation.benchmarks.tables import find_files, read_questions, rows_of, store_cell
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, SpatialSample


class _Row(Raw):
    id: int | str
    images: list[Any]
    question_type: str
    question: str
    """With its options ("… Options: A: left, B: right")."""
    answer: str


class Mmsi(Benchmark):
    """Option exact; the share of right answers over all questions and over each of the eleven types."""

    name = "mmsi"
    title = "MMSI-Bench"
    layout = "give the folder that holds MMSI_Bench.parquet (data set RunsenXu/MMSI-Bench)"
    data_set = "`RunsenXu/MMSI-Bench`"
    figures = "mean over questions; by type"

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        for file in find_files(folder, ("MMSI_Bench.parquet",), self.layout):
            yield from read_questions(file, rows_of(file), partial(self._questions, images, folder))

    def _questions(self, images: ImageStore, folder: Path, number: int, row: Any) -> Iterator[Question]:
        raw = _Row.model_validate(row)
        sample = SpatialSample(
            sample_id=f"{self.name}-{raw.id}",
            domain=self.name,
            kind=raw.question_type,
            paths=ASKED_THROUGH,
            images=tuple(store_cell(images, cell, f"images.{index}", folder) for index, cell in enumerate(raw.images)),
            question=choice_question(raw.question),
            answer=_answer(raw),
        )
        yield Question(sample, task=raw.question_type)


def _answer(raw: _Row) -> ChoiceAnswer:
    num_options = _count_options(raw.question.rpartition("Options:")[2])
    letters = ascii_uppercase[:num_options]
    if num_options < 2:
        raise RowError("question", raw.question[-60:], 'it must end with its options ("Options: A: left, B: right")')
    if len(raw.answer) != 1 or raw.answer not in letters:
        raise RowError("answer", raw.answer, f"it is none of the options {letters}")
    return ChoiceAnswer(letter=raw.answer, num_options=num_options)


def _count_options(text: str) -> int:
    """The number of letters that follow each other in order ("A: …, B: …, C: …")."""
    place = 0
    for count, letter in enumerate(ascii_uppercase):
        match = re.compile(rf"\b{letter}:").search(text, place)
        if match is None:
            return count
        place = match.end()
    return len(ascii_uppercase)
