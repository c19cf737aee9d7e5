"""BLINK (arXiv 2404.12390), its spatial parts. Points and boxes that questions mention are drawn in the images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from corpora.rows import Raw
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choices import ASKED_THROUGH, choice_question, lettered, shares_over_tasks
from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.benchmarks.tables import find_files, read_questions, rows_of, store_cell
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import SpatialSample

SPATIAL_PARTS = ("Relative_Depth", "Spatial_Relation", "Multi-view_Reasoning")


class _Row(Raw):
    idx: str
    """ "val_Relative_Depth_1"."""
    sub_task: str
    prompt: str
    """The question with its context and its options ("(A) A is closer")."""
    choices: list[str]
    answer: str
    """ "(B)"; "hidden" in the test split."""
    image_1: Any
    image_2: Any = None
    image_3: Any = None
    image_4: Any = None

    @property
    def pictures(self) -> list[Any]:
        return [cell for cell in (self.image_1, self.image_2, self.image_3, self.image_4) if cell is not None]


@dataclass(frozen=True)
class Blink(Benchmark):
    """Option exact. "overall" is the mean of the parts, as the published script takes it; "over_questions" by size.

    Those of `parts` that the folder holds are read: papers quote different ones.
    """

    name = "blink"
    title = "BLINK (spatial parts)"
    layout = (
        "give the folder that holds PART/val-*.parquet (data set BLINK-Benchmark/BLINK; the answers of its test split "
        f"are not public) for PART among {', '.join(SPATIAL_PARTS)}"
    )
    data_set = "`BLINK-Benchmark/BLINK`, Relative_Depth, Spatial_Relation and Multi-view_Reasoning of its val split"
    figures = "mean of the parts, as its script takes it; `over_questions`"
    parts: tuple[str, ...] = SPATIAL_PARTS

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        files = find_files(folder, ("*/val-*.parquet",), self.layout)
        if not (chosen := [file for file in files if file.parent.name in self.parts]):
            raise FileNotFoundError(f"{folder}: none of the parts {', '.join(self.parts)} in it; {self.layout}")
        for file in chosen:
            yield from read_questions(file, rows_of(file), partial(self._questions, images, file.parent))

    def _questions(self, images: ImageStore, folder: Path, number: int, row: Any) -> Iterator[Question]:
        raw = _Row.model_validate(row)
        sample = SpatialSample(
            sample_id=f"{self.name}-{folder.name}-{raw.idx}",
            domain=self.name,
            kind=raw.sub_task,
            paths=ASKED_THROUGH,
            images=tuple(
                store_cell(images, cell, f"image_{index}", folder) for index, cell in enumerate(raw.pictures, start=1)
            ),
            question=choice_question(raw.prompt.replace("<image>", "")),
            answer=lettered(raw.answer, len(raw.choices)),
        )
        yield Question(sample, task=raw.sub_task)

    def summarise(self, scored: Sequence[ScoredAnswer]) -> dict[str, float]:
        return shares_over_tasks(scored)
