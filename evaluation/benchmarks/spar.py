"""SPAR-Bench (arXiv 2503.22976): depth, distance, place and motion in one to three views of a room, 20 tasks.

Marks ("red point", "green bbox") are drawn in the images, but the rows do not say where they are. So nothing is asked
through DTR.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from corpora.rows import Raw, RowError
from corpora.texts.answers import num_options_in
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choices import ASKED_THROUGH, choice_question, lettered, score_choice, shares_over_tasks
from evaluation.benchmarks.measures import read_measure
from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.benchmarks.scoring import MraRule, mean_relative_accuracy
from evaluation.benchmarks.tables import find_files, read_questions, rows_of, store_cell
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.motions import read_motion
from spatial.quantities import read_quantity
from spatial.sample import Answer, MotionAnswer, NumberAnswer, SpatialSample

LEVELS: Mapping[str, tuple[str, ...]] = {
    "low": (
        *("depth_prediction_oc", "depth_prediction_oc_mv", "depth_prediction_oo", "depth_prediction_oo_mv"),
        *("distance_prediction_oc", "distance_prediction_oc_mv"),
        *("distance_prediction_oo", "distance_prediction_oo_mv"),
    ),
    "middle": ("position_matching", "camera_motion_infer", "view_change_infer"),
    "high": (
        *("distance_infer_center_oo", "distance_infer_center_oo_mv"),
        *("obj_spatial_relation_oo", "obj_spatial_relation_oc_mv", "obj_spatial_relation_oo_mv"),
        *("spatial_imagination_oc", "spatial_imagination_oc_mv"),
        *("spatial_imagination_oo", "spatial_imagination_oo_mv"),
    ),
}
"""The paper's three levels and their tasks. Low: numbers in metres; `view_change_infer`: a motion; else an option."""

AXES = (
    ("move_right", "move_left"),
    ("move_up", "move_down"),
    ("move_forward", "move_backward"),
    ("rotate_right", "rotate_left"),
    ("rotate_up", "rotate_down"),
)

_LEVEL_OF = {task: level for level, tasks in LEVELS.items() for task in tasks}
_ABOUT_COORDINATES = "Coordinates are thousandths of the image's sides, from its top-left corner."


class _Row(Raw):
    task: str
    question: str
    """With its options, if any ("A. left, above, closer")."""
    answer: str
    image: list[Any]


@dataclass(frozen=True)
class Spar(Benchmark):
    """Option exact; number MRA; motion: mean MRA of five axes.

    "overall" is the mean of the tasks, "over_questions" the mean of the paper's own script; "source/low",
    "source/middle" and "source/high" are means of a level's tasks.
    """

    name = "spar"
    title = "SPAR-Bench"
    layout = "give the folder that holds data/test-*.parquet (data set jasonzhango/SPAR-Bench or SPAR-Bench-Tiny)"
    data_set = "`jasonzhango/SPAR-Bench` or `SPAR-Bench-Tiny`"
    answer_rule = "option exact; number: MRA; motion: mean MRA of five axes"
    figures = "mean of the tasks; `over_questions`, as the paper's script counts; by task and level"
    mra: MraRule = "published"
    """Whether an error meets a bound that it equals (`scoring.MraRule`)."""

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        for file in find_files(folder, ("data/test-*.parquet",), self.layout):
            yield from read_questions(file, rows_of(file), partial(self._questions, images, file))

    def _questions(self, images: ImageStore, file: Path, number: int, row: Any) -> Iterator[Question]:
        raw = _Row.model_validate(row)
        if raw.task not in _LEVEL_OF:
            raise RowError("task", raw.task, f"it is none of the {len(_LEVEL_OF)} tasks")
        sample = SpatialSample(
            sample_id=f"{self.name}-{file.stem}-{number}",
            domain=self.name,
            kind=raw.task,
            paths=ASKED_THROUGH,
            images=tuple(
                store_cell(images, cell, f"image.{index}", file.parent) for index, cell in enumerate(raw.image)
            ),
            question=_asked(raw),
            answer=_answer(raw),
        )
        yield Question(sample, task=raw.task, source=_LEVEL_OF[raw.task])

    def score(self, question: Question, answer: str | None) -> ScoredAnswer:
        truth = question.sample.answer
        if isinstance(truth, NumberAnswer):
            value = None if answer is None else read_measure(answer, truth.unit)
            return ScoredAnswer(
                question, answer, 0.0 if value is None else mean_relative_accuracy(value, truth.value, self.mra)
            )
        if isinstance(truth, MotionAnswer):
            moves = {} if answer is None else read_motion(answer)
            return ScoredAnswer(question, answer, motion_accuracy(moves, truth.moves, self.mra) if moves else 0.0)
        return score_choice(question, answer)

    def summarise(self, scored: Sequence[ScoredAnswer]) -> dict[str, float]:
        figures = shares_over_tasks(scored)
        for level, tasks in LEVELS.items():
            if given := [figures[f"task/{task}"] for task in tasks if f"task/{task}" in figures]:
                figures[f"source/{level}"] = fmean(given)
        return figures


def motion_accuracy(predicted: Mapping[str, float], true: Mapping[str, float], rule: MraRule = "published") -> float:
    """Mean MRA of five axes, each of two opposite moves ("move_right" minus "move_left"); missing moves are 0.

    Source: SPAR-Bench's own script (view change), in which axes without motion count too. That script divides the error
    by the answer, so that twice the truth has an error of a half; here it is relative to the truth, as in all MRA.
    """
    pairs = ((_along(predicted, *axis), _along(true, *axis)) for axis in AXES)
    return fmean(mean_relative_accuracy(moved, truly, rule) for moved, truly in pairs)


def _along(moves: Mapping[str, float], forth: str, back: str) -> float:
    return moves.get(forth, 0.0) - moves.get(back, 0.0)


def _asked(raw: _Row) -> str:
    if raw.task == "view_change_infer":
        return raw.question.strip()  # the question says how to write a motion
    if raw.task in LEVELS["low"]:
        return f"{raw.question.strip()}\nAnswer with a number in metres."
    if raw.task in ("position_matching", "camera_motion_infer"):
        return choice_question(f"{raw.question.strip()}\n{_ABOUT_COORDINATES}")
    return choice_question(raw.question)


def _answer(raw: _Row) -> Answer:
    if raw.task == "view_change_infer":
        moves = dict(read_motion(raw.answer))
        if not moves:
            raise RowError("answer", raw.answer, "give a motion such as rotate_up:5,move_right:0.4")
        return MotionAnswer(moves=moves)
    if raw.task in LEVELS["low"]:
        value = read_quantity(raw.answer, "m")
        if value is None:
            raise RowError("answer", raw.answer, "give a number of metres")
        return NumberAnswer(value=value, unit="m")
    return lettered(raw.answer, num_options_in(raw.question))
