"""ViewSpatial-Bench (arXiv 2505.21500): where objects are as seen from the camera, and from a person in the image."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from corpora.formats.image_files import ImageImporter
from corpora.rows import Raw, RowError
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choices import ASKED_THROUGH, choice, choice_question
from evaluation.benchmarks.question import Question
from evaluation.benchmarks.tables import find_files, read_questions, rows_of
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import SpatialSample

_OPTION = re.compile(r"([A-Z])\. (.+)")


class _Row(Raw):
    question_type: str
    image_path: list[str]
    """Relative to the parent of the data set's folder ("ViewSpatial-Bench/val2017/….jpg")."""
    question: str
    choices: str
    """One per line ("A. right")."""
    answer: str
    """One of these lines."""


class ViewSpatial(Benchmark):
    """Option exact; the share of right answers over all questions and over each of the five types."""

    name = "viewspatial"
    title = "ViewSpatial-Bench"
    layout = (
        "give the folder that holds ViewSpatial-Bench.json and, unpacked, scannetv2_val.zip and val2017.zip "
        "(data set lidingm/ViewSpatial-Bench)"
    )
    data_set = "`lidingm/ViewSpatial-Bench`"
    figures = "mean over questions; by type"

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        importer = ImageImporter(images, folder)
        for file in find_files(folder, ("ViewSpatial-Bench.json",), self.layout):
            yield from read_questions(file, rows_of(file), partial(self._questions, importer))

    def _questions(self, importer: ImageImporter, number: int, row: Any) -> Iterator[Question]:
        raw = _Row.model_validate(row)
        options = _options(raw.choices)
        lines = raw.choices.strip().splitlines()
        if raw.answer not in lines:
            raise RowError("answer", raw.answer, f"it is none of the choices {lines}")
        sample = SpatialSample(
            sample_id=f"{self.name}-{number}",
            domain=self.name,
            kind=raw.question_type,
            paths=ASKED_THROUGH,
            images=tuple(
                importer.put(name.removeprefix("ViewSpatial-Bench/"), f"image_path.{index}")
                for index, name in enumerate(raw.image_path)
            ),
            question=choice_question(raw.question, options),
            answer=choice(options, lines.index(raw.answer)),
        )
        yield Question(sample, task=raw.question_type)


def _options(choices: str) -> list[str]:
    """The texts of lines such as "A. right", lettered from A on."""
    options = []
    for place, line in enumerate(choices.strip().splitlines()):
        match = _OPTION.fullmatch(line)
        if match is None or ord(match[1]) - ord("A") != place:
            raise RowError("choices", choices, 'give one a line, lettered from A on ("A. right")')
        options.append(match[2])
    return options
