"""Omni3D-Bench (arXiv 2502.06787): counting, sizes and distances by comparison, yes or no, and which of several."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field

from corpora.rows import Raw, RowError
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choices import ASKED_THROUGH
from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.benchmarks.scoring import strict_mean_relative_accuracy
from evaluation.benchmarks.tables import find_files, read_questions, rows_of, store_cell
from spatial.dataset import Reject
from spatial.grammar import read_number
from spatial.images import ImageStore
from spatial.sample import NumberAnswer, SpatialSample, TextAnswer

_ASK_FOR = {"int": "Answer with a whole number.", "float": "Answer with a number.", "str": "Answer with a word or two."}


class _Row(Raw):
    image_index: str | int
    question_index: str | int = Field(validation_alias=AliasChoices("question_index", "q_index"))
    question: str
    answer: str | int | float
    answer_type: Literal["int", "float", "str"]
    image: Any = None
    """The image, in the parquet file; rows of the JSON file name a file."""
    image_filename: str = ""


class Omni3dBench(Benchmark):
    """Counts and texts exact, ignoring case; any other number: MRA with strict <.

    Four tasks, with the names of the paper: numeric_count, numeric_other, yes_no, multi_choice. "overall" is the mean
    over all questions, which reproduces the paper's totals from its four columns. A number is taken as written, in the
    unit that the question asks for; a number followed by a unit is wrong, as in the published script.
    """

    name = "omni3d"
    title = "Omni3D-Bench"
    layout = (
        "give the folder that holds data/train-*.parquet, or annotations.json and images/ (both in data set "
        "dmarsili/Omni3D-Bench)"
    )
    data_set = "`dmarsili/Omni3D-Bench`"
    answer_rule = "count and text exact; number: MRA with strict <"
    figures = "mean over questions, which gives back the paper's totals from its four columns"

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        for file in find_files(folder, ("data/train-*.parquet", "annotations.json"), self.layout):
            yield from read_questions(
                file, rows_of(file, array="questions.item"), partial(self._questions, images, folder / "images")
            )

    def _questions(self, images: ImageStore, folder: Path, number: int, row: Any) -> Iterator[Question]:
        raw = _Row.model_validate(row)
        answer = _answer(raw)
        task = {"int": "numeric_count", "float": "numeric_other"}.get(raw.answer_type, "multi_choice")
        if isinstance(answer, TextAnswer) and answer.text in ("yes", "no"):
            task = "yes_no"
        sample = SpatialSample(
            sample_id=f"{self.name}-{raw.image_index}-{raw.question_index}",
            domain=self.name,
            kind=task,
            paths=ASKED_THROUGH,
            images=(store_cell(images, raw.image or {"path": raw.image_filename}, "image", folder),),
            question=f"{raw.question.strip()}\n{_ASK_FOR[raw.answer_type]}",
            answer=answer,
        )
        yield Question(sample, task=task)

    def score(self, question: Question, answer: str | None) -> ScoredAnswer:
        return ScoredAnswer(question, answer, score=0.0 if answer is None else _score(question, answer))


def _answer(raw: _Row) -> NumberAnswer | TextAnswer:
    text = str(raw.answer).strip()
    if raw.answer_type == "str":
        return TextAnswer(text=text.lower())
    value = read_number(text)
    if value is None or (raw.answer_type == "int" and not value.is_integer()):
        raise RowError("answer", raw.answer, f"it is no {raw.answer_type}, as answer_type says")
    # The question names the unit and the answer is a bare number, so it is stored as a count, integer or not.
    return NumberAnswer(value=value, unit="count")


def _score(question: Question, answer: str) -> float:
    truth = question.sample.answer
    if isinstance(truth, TextAnswer):
        return float(answer.strip().lower() == truth.text)
    assert isinstance(truth, NumberAnswer), truth
    value = read_number(answer)
    if value is None:
        return 0.0
    if question.task == "numeric_count":
        return float(value == truth.value)
    return strict_mean_relative_accuracy(value, truth.value)
