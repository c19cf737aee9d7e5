"""EmbSpatial-Bench (arXiv 2406.05756): six relations between objects in indoor scenes, as the camera sees them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from corpora.rows import Raw
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choices import ASKED_THROUGH, choice, choice_question
from evaluation.benchmarks.question import Question
from evaluation.benchmarks.tables import find_files, read_questions, rows_of, store_cell
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import SpatialSample


class _Row(Raw):
    question_id: str
    question: str
    relation: str
    answer_options: list[str]
    answer: int
    """Counted from 0."""
    data_source: str
    image: Any
    """Base64 in the JSON file, bytes in the parquet file."""


class EmbSpatial(Benchmark):
    """Option exact; the share of right answers over all questions, by relation, and by source of the scene."""

    name = "embspatial"
    title = "EmbSpatial-Bench"
    layout = (
        "give the folder that holds embspatial_bench.json (data set Phineas476/EmbSpatial-Bench), or "
        "data/test-*.parquet (FlagEval/EmbSpatial-Bench, the same questions)"
    )
    data_set = "`Phineas476/EmbSpatial-Bench` (JSON) or `FlagEval/EmbSpatial-Bench` (parquet)"
    figures = "mean over questions; by relation, by source of the scene"

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        for file in find_files(folder, ("embspatial_bench.json", "data/test-*.parquet"), self.layout):
            yield from read_questions(file, rows_of(file), partial(self._questions, images, file.parent))

    def _questions(self, images: ImageStore, folder: Path, number: int, row: Any) -> Iterator[Question]:
        raw = _Row.model_validate(row)
        sample = SpatialSample(
            sample_id=f"{self.name}-{raw.question_id}",
            domain=self.name,
            kind=raw.relation,
            paths=ASKED_THROUGH,
            images=(store_cell(images, raw.image, "image", folder),),
            question=choice_question(raw.question, raw.answer_options),
            answer=choice(raw.answer_options, raw.answer),
        )
        yield Question(sample, task=raw.relation, source=raw.data_source)
