"""Q-Spatial Bench (arXiv 2409.09788): distances and sizes in photographs, measured with a rule or a depth scanner."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from corpora.rows import Raw, RowError
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choices import ASKED_THROUGH
from evaluation.benchmarks.measures import read_measure
from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.benchmarks.scoring import ratio
from evaluation.benchmarks.tables import find_files, read_questions, rows_of, store_cell
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.quantities import read_quantity
from spatial.sample import NumberAnswer, SpatialSample

MAX_RATIO = 2.0
"""An answer is a success if it is too large or too small by less than this factor (the paper's δ)."""


class _Row(Raw):
    question: str
    answer_value: float
    answer_unit: str
    """ "meter", "centimeter", "inch", …"""
    question_type: str
    image_path: str
    image: Any
    """None in the part from ScanNet, whose licence forbids to publish images."""


class QSpatial(Benchmark):
    """Success if max(p/g, g/p) < 2. Over all questions, by type, and by part (QSpatial_plus, QSpatial_scannet).

    Answers are asked for in metres, so that the question does not show the unit of the truth. Other units of length are
    converted, also in the form of the paper's prompt (`\\scalar{150} \\distance_unit{cm}`).
    """

    name = "qspatial"
    title = "Q-Spatial Bench"
    layout = (
        "give the folder that holds data/QSpatial_*.parquet (data set andrewliao11/Q-Spatial-Bench) and, for the "
        "part from ScanNet, QSpatial_scannet/images as the benchmark's own script renders them"
    )
    data_set = "`andrewliao11/Q-Spatial-Bench`"
    answer_rule = "success if max(p/g, g/p) < 2"
    figures = "mean over questions; by type, by part (the paper reports the parts)"

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        for file in find_files(folder, ("data/QSpatial_*.parquet",), self.layout):
            yield from read_questions(file, rows_of(file), partial(self._questions, images, folder, file))

    def _questions(self, images: ImageStore, folder: Path, file: Path, number: int, row: Any) -> Iterator[Question]:
        raw = _Row.model_validate(row)
        part = file.name.partition("-")[0]
        true_m = read_quantity(f"{raw.answer_value} {raw.answer_unit}", "m")
        if true_m is None or true_m <= 0:
            raise RowError(
                "answer_value", f"{raw.answer_value} {raw.answer_unit}", "give a length above 0 and its unit"
            )
        has_image = isinstance(raw.image, dict) and raw.image.get("bytes")
        image = raw.image if has_image else {"path": raw.image_path}
        sample = SpatialSample(
            sample_id=f"{self.name}-{part}-{number}",
            domain=self.name,
            kind=raw.question_type,
            paths=ASKED_THROUGH,
            images=(store_cell(images, image, "image", folder),),
            question=f"{raw.question.strip()}\nAnswer with a number in metres.",
            answer=NumberAnswer(value=true_m, unit="m"),
        )
        yield Question(sample, task=raw.question_type, source=part)

    def score(self, question: Question, answer: str | None) -> ScoredAnswer:
        truth = question.sample.answer
        assert isinstance(truth, NumberAnswer), truth
        answer_m = None if answer is None else read_measure(answer, "m")
        times = None if answer_m is None else ratio(answer_m, truth.value)
        if times is None:
            return ScoredAnswer(question, answer, score=0.0)
        return ScoredAnswer(question, answer, score=float(times < MAX_RATIO), extra={"ratio": times})
