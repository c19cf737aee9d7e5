"""VSI-Bench (arXiv 2412.14171): counts, sizes, distances, directions, routes and order, from videos of rooms.

A video becomes a few frames (`frames.scene_frames`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from pydantic import Field

from corpora.rows import Raw, RowError
from corpora.texts.answers import read_options
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choices import ASKED_THROUGH, choice_by_letter, choice_question, score_choice, shares
from evaluation.benchmarks.frames import scene_frames
from evaluation.benchmarks.measures import read_measure
from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.benchmarks.scoring import MraRule, mean_relative_accuracy
from evaluation.benchmarks.tables import find_files, read_questions, rows_of
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.quantities import read_quantity
from spatial.sample import Answer, ImageRef, NumberAnswer, SpatialSample, Unit

UNITS: dict[str, tuple[Unit, str]] = {
    "object_counting": ("count", "Answer with a whole number."),
    "object_abs_distance": ("m", "Answer with a number in metres."),
    "object_size_estimation": ("cm", "Answer with a number in centimetres."),
    "room_size_estimation": ("count", "Answer with a number of square metres."),  # there is no unit of area
}
"""The four tasks that ask for a number: its unit, and the instruction that asks for it."""

CHOICES = (
    *("object_rel_direction_easy", "object_rel_direction_medium", "object_rel_direction_hard"),
    *("object_rel_distance", "route_planning", "obj_appearance_order"),
)
_DIRECTION = "object_rel_direction"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)]


class _Row(Raw):
    id: int | str
    dataset: Name
    """scannet, scannetpp or arkitscenes."""
    scene_name: Name
    question_type: str
    question: str
    ground_truth: str
    options: list[str] | None = None
    """ "A. chair", …"""


@dataclass(frozen=True)
class Vsi(Benchmark):
    """Option exact; number MRA. "overall" is the mean of eight tasks: the three tiers of direction count as one.

    "task/object_rel_direction" is the mean of its tiers, which are "tier/easy", "tier/medium" and "tier/hard".
    """

    name = "vsi"
    title = "VSI-Bench"
    layout = (
        "give the folder that holds test.jsonl or test*.parquet (data set nyu-visionx/VSI-Bench), and its unpacked "
        "videos (scannet/, scannetpp/, arkitscenes/) or frames/DATASET/SCENE/*.jpg"
    )
    data_set = "`nyu-visionx/VSI-Bench`, its videos unpacked or as images of frames"
    answer_rule = "option exact; number: MRA"
    figures = "mean of eight tasks, three tiers of direction being one; `over_questions`; `tier/…`"
    num_frames: int = 16
    """Most frames per video."""
    mra: MraRule = "published"
    """Whether an error meets a bound that it equals (`scoring.MraRule`)."""

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        frames_of = lru_cache(maxsize=None)(partial(scene_frames, images, folder, self.num_frames))
        for file in find_files(
            folder, ("test.jsonl", "test-*.parquet", "test_[dp][er]*ed.parquet", "test.parquet"), self.layout
        ):
            yield from read_questions(file, rows_of(file), partial(self._questions, frames_of))

    def _questions(
        self, frames_of: Callable[[str, str], tuple[ImageRef, ...]], number: int, row: Any
    ) -> Iterator[Question]:
        raw = _Row.model_validate(row)
        question, answer = _asked(raw)
        sample = SpatialSample(
            sample_id=f"{self.name}-{raw.id}",
            domain=self.name,
            kind=raw.question_type,
            paths=ASKED_THROUGH,
            images=frames_of(raw.dataset, raw.scene_name),
            question=f"These are frames of a video.\n{question}",
            answer=answer,
        )
        yield Question(sample, task=raw.question_type, source=raw.dataset)

    def with_frames(self, num_frames: int) -> "Vsi":
        return replace(self, num_frames=num_frames)

    def score(self, question: Question, answer: str | None) -> ScoredAnswer:
        truth = question.sample.answer
        if not isinstance(truth, NumberAnswer):
            return score_choice(question, answer)
        value = None if answer is None else read_measure(answer, truth.unit)
        return ScoredAnswer(
            question, answer, 0.0 if value is None else mean_relative_accuracy(value, truth.value, self.mra)
        )

    def summarise(self, scored: Sequence[ScoredAnswer]) -> dict[str, float]:
        if not scored:
            return {}
        figures = shares(scored)
        figures["over_questions"] = figures["overall"]
        tiers = {
            f"tier/{tier}": figures.pop(f"task/{_DIRECTION}_{tier}")
            for tier in ("easy", "medium", "hard")
            if f"task/{_DIRECTION}_{tier}" in figures
        }
        if tiers:
            figures[f"task/{_DIRECTION}"] = fmean(tiers.values())
        figures["overall"] = fmean(share for name, share in figures.items() if name.startswith("task/"))
        return figures | tiers


def _asked(raw: _Row) -> tuple[str, Answer]:
    """The question with its instruction, and its answer."""
    if raw.question_type in UNITS:
        unit, wish = UNITS[raw.question_type]
        value = read_quantity(raw.ground_truth, unit)
        if value is None:
            raise RowError("ground_truth", raw.ground_truth, "give a number")
        return f"{raw.question.strip()}\n{wish}", NumberAnswer(value=value, unit=unit)
    if raw.question_type not in CHOICES:
        raise RowError("question_type", raw.question_type, f"it is none of {', '.join([*UNITS, *CHOICES])}")
    options = read_options(raw.options, "options")
    return choice_question(raw.question, options), choice_by_letter(options, raw.ground_truth)
