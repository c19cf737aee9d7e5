"""`results.json`: what was asked and how, the marks with their intervals, and every single outcome."""

import hashlib
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, ValidationError

from evaluation.asking import Asked, Response
from evaluation.benchmarks.types import Marked, Question
from evaluation.exam import Exam
from evaluation.figures import compare, complete, figures_with_intervals
from spatial.answer_text import answer_text
from spatial.grammar import parse_response
from spatial.sample import ReasoningPath, SpatialSample
from spatial.strict import StrictModel
from spatial.whole_files import write_whole

Mode = Literal["sampled", "greedy"]

_MAX_SHOWN = 20


class ResultsError(ValueError):
    """A results file cannot be used; the message names the file, the field, and what to do."""


class Settings(StrictModel):
    """All that the marks depend on, beside the model and the questions."""

    benchmark: str
    folder: str | None
    """Where the benchmark was read from; null: the run's own test split."""
    paths: tuple[ReasoningPath, ...]
    num_samples: int
    temperature: float
    """Of the sampled responses."""
    greedy: bool
    seed: int
    max_response_tokens: int
    limit: int | None
    """At most so many questions of the benchmark; null: all."""
    prompt: dict[str, JsonValue]
    """How samples become prompts (`PromptConfig`)."""


class Outcome(StrictModel):
    """One response to one question."""

    sample_id: str
    question_hash: str
    """Of question, images, regions and truth: outcomes are compared only where it is the same."""
    task: str
    source: str
    item: str
    variant: str
    path: ReasoningPath
    mode: Mode
    member: int
    """Which of the question's responses."""
    response: str
    answer: str | None
    """The inside of the answer section; null: none could be read."""
    truth: str
    well_formed: bool
    score: float
    extra: dict[str, float] | None


class Figure(StrictModel):
    """A figure of the benchmark with its interval of 95 % over draws of the questions."""

    value: float
    low: float
    high: float


class PathMarks(StrictModel):
    """Figures of one path and one way of sampling."""

    path: ReasoningPath
    mode: Mode
    num_questions: int
    """Answered; what counts together and was answered in part is left out."""
    figures: dict[str, Figure]
    format_rate: float


class FigureDifference(StrictModel):
    """This model minus the baseline."""

    value: float
    low: float
    high: float
    p_value: float
    """By randomisation, two-sided."""


class Comparison(StrictModel):
    """This model beside another on the questions that both answered."""

    baseline: str
    """The other's checkpoint."""
    path: ReasoningPath
    mode: Mode
    num_questions: int
    figures: dict[str, FigureDifference]
    num_lost: int | None
    """Questions that only the baseline has right; null where answers are more than right or wrong, or several."""
    num_won: int | None
    """Questions that only this model has right."""
    mcnemar_p: float | None


class Results(StrictModel):
    """The whole file."""

    title: str
    checkpoint: str
    settings: Settings
    num_questions: int
    num_rejects: int
    rejects: tuple[str, ...]
    """Rows of the benchmark's files that became no question: the first of them, in words."""
    num_failures: int
    failures: tuple[str, ...]
    """Responses that failed, in no mark: the first of them, in words."""
    marks: tuple[PathMarks, ...]
    comparisons: tuple[Comparison, ...] = ()
    outcomes: tuple[Outcome, ...]

    def write(self, file: Path) -> None:
        """Put it in place at once, whole."""
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> "Results":
        """
        Raises:
            ResultsError: there is no such file, or it is no results file.
        """
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise ResultsError(f"{file}: {error.strerror}; give the results.json of an evaluation") from None
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the whole"
            raise ResultsError(f"{file}: {field}: {first['msg']}; give the results.json of an evaluation") from None


def make_results(exam: Exam, asked: Asked[Response], checkpoint: str, settings: Settings) -> Results:
    """Mark the responses by the exam's rule."""
    questions = {question.sample.sample_id: question for question in exam.questions}
    hashes = {name: _hash(question.sample) for name, question in questions.items()}
    outcomes = tuple(
        _outcome(exam, questions[response.sample_id], hashes[response.sample_id], response)
        for response in asked.answers
    )
    return Results(
        title=exam.rule.title,
        checkpoint=checkpoint,
        settings=settings,
        num_questions=len(questions),
        num_rejects=len(exam.rejects),
        rejects=tuple(map(str, exam.rejects[:_MAX_SHOWN])),
        num_failures=len(asked.failures),
        failures=tuple(f"{f.sample_id} through {f.path}: {f.reason}" for f in asked.failures[:_MAX_SHOWN]),
        marks=tuple(
            _marks(exam, path, mode, those, settings.seed) for (path, mode), those in _by_path_and_mode(outcomes)
        ),
        outcomes=outcomes,
    )


def compare_results(exam: Exam, baseline: Results, results: Results) -> tuple[Comparison, ...]:
    """`results` beside `baseline`, path by path.

    Raises:
        ResultsError: they are of different benchmarks, or share no question.
    """
    if baseline.settings.benchmark != results.settings.benchmark:
        raise ResultsError(
            f"{baseline.checkpoint} was asked {baseline.settings.benchmark}, {results.checkpoint} "
            f"{results.settings.benchmark}: compare results of one benchmark"
        )
    # A question of the same name may be another, of data made anew.
    known = {outcome.sample_id: outcome.question_hash for outcome in results.outcomes}
    same = [o for o in baseline.outcomes if known.get(o.sample_id) == o.question_hash]
    before = dict(_by_path_and_mode(same))
    comparisons = []
    for (path, mode), outcomes in _by_path_and_mode(results.outcomes):
        first, second = (_rounds(exam, path, those) for those in (before.get((path, mode), []), outcomes))
        found = compare(first, second, exam.rule.summarise, results.settings.seed) if first and second else None
        if found is not None:
            comparisons.append(
                Comparison(
                    baseline=baseline.checkpoint,
                    path=path,
                    mode=mode,
                    num_questions=found.num_questions,
                    figures={
                        name: FigureDifference(
                            value=each.value, low=each.interval.low, high=each.interval.high, p_value=each.p_value
                        )
                        for name, each in found.differences.items()
                    },
                    num_lost=found.num_lost,
                    num_won=found.num_won,
                    mcnemar_p=found.mcnemar_p,
                )
            )
    if not comparisons:
        raise ResultsError(
            f"{baseline.checkpoint} and {results.checkpoint} share no answered question of "
            f"{results.settings.benchmark}: ask both the same ones, through the same paths"
        )
    return tuple(comparisons)


def differing_settings(first: Settings, second: Settings) -> list[str]:
    """Names of settings in which two evaluations differ, as far as they bear on the marks."""
    ignored = {"folder", "limit"}
    return [
        name for name in Settings.model_fields if name not in ignored and getattr(first, name) != getattr(second, name)
    ]


def _outcome(exam: Exam, question: Question, question_hash: str, response: Response) -> Outcome:
    parsed = parse_response(response.path, response.text)
    marked = exam.rule.mark(question, parsed.answer)
    return Outcome(
        sample_id=response.sample_id,
        question_hash=question_hash,
        task=question.task,
        source=question.source,
        item=question.item,
        variant=question.variant,
        path=response.path,
        mode="greedy" if response.is_greedy else "sampled",
        member=response.member,
        response=response.text,
        answer=parsed.answer,
        truth=answer_text(question.sample.answer),
        well_formed=parsed.well_formed,
        score=marked.score,
        extra=None if marked.extra is None else dict(marked.extra),
    )


def _marks(exam: Exam, path: ReasoningPath, mode: Mode, outcomes: Sequence[Outcome], seed: int) -> PathMarks:
    rounds = _rounds(exam, path, outcomes)
    figures = figures_with_intervals(rounds, exam.rule.summarise, seed)
    return PathMarks(
        path=path,
        mode=mode,
        num_questions=len({mark.question.sample.sample_id for marks in rounds for mark in marks}),
        figures={name: Figure(value=value, low=at.low, high=at.high) for name, (value, at) in figures.items()},
        format_rate=sum(outcome.well_formed for outcome in outcomes) / len(outcomes),
    )


def _rounds(exam: Exam, path: ReasoningPath, outcomes: Sequence[Outcome]) -> list[list[Marked]]:
    """One path's outcomes of one mode, a round for each response that a question was given."""
    questions = {q.sample.sample_id: q for q in exam.questions if path in q.sample.paths}
    by_member: dict[int, list[Marked]] = {}
    for outcome in outcomes:
        if outcome.sample_id in questions:
            marked = Marked(questions[outcome.sample_id], outcome.answer, outcome.score, outcome.extra)
            by_member.setdefault(outcome.member, []).append(marked)
    return [complete(by_member[member], list(questions.values())) for member in sorted(by_member)]


def _by_path_and_mode(outcomes: Sequence[Outcome]) -> list[tuple[tuple[ReasoningPath, Mode], list[Outcome]]]:
    def key(outcome: Outcome) -> tuple[ReasoningPath, Mode]:
        return outcome.path, outcome.mode

    ordered = sorted(outcomes, key=lambda outcome: (list(ReasoningPath).index(outcome.path), outcome.mode))
    return [(name, list(those)) for name, those in groupby(ordered, key)]


def _hash(sample: SpatialSample) -> str:
    regions = [(region.mark, region.image_index, region.box_xyxy_px) for region in sample.regions]
    images = [image.sha256 for image in sample.images]
    told = [sample.question, images, regions, sample.answer.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
