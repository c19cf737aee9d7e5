"""A report, `results.json`: what was asked and how, the figures with their intervals, and every response."""

import hashlib
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue, ValidationError

from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.exam import Exam
from evaluation.figures import compare, complete, figures_with_intervals
from evaluation.responses import Response, Responses
from spatial.answer_text import answer_text
from spatial.grammar import parse_response
from spatial.sample import ReasoningPath, SpatialSample
from spatial.strict import StrictModel
from spatial.whole_files import write_whole

Mode = Literal["sampled", "greedy"]

_MAX_SHOWN = 20


class ReportError(ValueError):
    """A results file cannot be used; the message names the file, the field, and what to do."""


class Settings(StrictModel):
    """Everything that the figures depend on, besides the model and the questions."""

    benchmark: str
    folder: str | None
    """The folder of the benchmark's files; null: the run's own test split."""
    paths: tuple[ReasoningPath, ...]
    num_samples: int
    temperature: float
    """Temperature of the sampled responses."""
    greedy: bool
    seed: int
    max_response_tokens: int
    limit: int | None
    """Most questions of the benchmark; null: all."""
    prompt: dict[str, JsonValue]
    """The settings that turn samples into prompts (`PromptConfig`)."""


class ResponseRecord(StrictModel):
    """One response to one question."""

    sample_id: str
    question_hash: str
    """Hash of question, images, regions and truth: responses are compared only if it is the same."""
    task: str
    source: str
    item: str
    variant: str
    path: ReasoningPath
    mode: Mode
    member: int
    """Number of the response among those to its question."""
    response: str
    answer: str | None
    """The inside of the answer section; null: none could be read."""
    truth: str
    well_formed: bool
    score: float
    extra: dict[str, float] | None


class Figure(StrictModel):
    """A figure of the benchmark with its 95 % interval over draws of the questions."""

    value: float
    low: float
    high: float


class PathFigures(StrictModel):
    """Figures of one path and one way of sampling."""

    path: ReasoningPath
    mode: Mode
    num_questions: int
    """Questions answered; an item of several questions counts only if all of them were answered."""
    figures: dict[str, Figure]
    format_rate: float


class FigureDifference(StrictModel):
    """This model minus the baseline."""

    value: float
    low: float
    high: float
    p_value: float
    """The p-value of a two-sided randomisation test."""


class Comparison(StrictModel):
    """This model compared with another on the questions that both answered."""

    baseline: str
    """The folder of the other model."""
    path: ReasoningPath
    mode: Mode
    num_questions: int
    figures: dict[str, FigureDifference]
    num_lost: int | None
    """Questions that only the baseline has right; null: scores are not just 0 and 1, or there are several responses."""
    num_won: int | None
    """Questions that only this model has right."""
    mcnemar_p: float | None


class Report(StrictModel):
    """The whole file. Three keys keep the names of the first version: `checkpoint` (the model's folder),
    `marks` and `outcomes`."""

    model_config = ConfigDict(populate_by_name=True)

    title: str
    checkpoint: str
    settings: Settings
    num_questions: int
    num_rejects: int
    rejects: tuple[str, ...]
    """The first rows of the benchmark's files that could not become a question, each with its reason."""
    num_failures: int
    failures: tuple[str, ...]
    """The first failed responses, each with its reason; they enter no figure."""
    figures: Annotated[tuple[PathFigures, ...], Field(alias="marks")]
    comparisons: tuple[Comparison, ...] = ()
    responses: Annotated[tuple[ResponseRecord, ...], Field(alias="outcomes")]

    def write(self, file: Path) -> None:
        """Write the file, atomically."""
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, self.model_dump_json(indent=1, by_alias=True) + "\n")

    @classmethod
    def read(cls, file: Path) -> "Report":
        """
        Raises:
            ReportError: there is no such file, or it is not a report.
        """
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise ReportError(f"{file}: {error.strerror}; give the results.json of an evaluation") from None
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the whole"
            raise ReportError(f"{file}: {field}: {first['msg']}; give the results.json of an evaluation") from None


def make_report(exam: Exam, responses: Responses[Response], model: str, settings: Settings) -> Report:
    """Score the responses by the exam's rule."""
    questions = {question.sample.sample_id: question for question in exam.questions}
    hashes = {name: _hash(question.sample) for name, question in questions.items()}
    records = tuple(
        _record(exam, questions[response.sample_id], hashes[response.sample_id], response)
        for response in responses.succeeded
    )
    return Report(
        title=exam.rule.title,
        checkpoint=model,
        settings=settings,
        num_questions=len(questions),
        num_rejects=len(exam.rejects),
        rejects=tuple(map(str, exam.rejects[:_MAX_SHOWN])),
        num_failures=len(responses.failed),
        failures=tuple(f"{f.sample_id} through {f.path}: {f.reason}" for f in responses.failed[:_MAX_SHOWN]),
        figures=tuple(
            _figures(exam, path, mode, those, settings.seed) for (path, mode), those in _by_path_and_mode(records)
        ),
        responses=records,
    )


def compare_reports(exam: Exam, baseline: Report, report: Report) -> tuple[Comparison, ...]:
    """`report` compared with `baseline`, path by path.

    Raises:
        ReportError: they are of different benchmarks, or share no question.
    """
    if baseline.settings.benchmark != report.settings.benchmark:
        raise ReportError(
            f"{baseline.checkpoint} was asked {baseline.settings.benchmark}, {report.checkpoint} "
            f"{report.settings.benchmark}: compare results of one benchmark"
        )
    # The question of an id may have changed: data can be made again under the same names.
    known = {record.sample_id: record.question_hash for record in report.responses}
    same = [o for o in baseline.responses if known.get(o.sample_id) == o.question_hash]
    before = dict(_by_path_and_mode(same))
    comparisons = []
    for (path, mode), records in _by_path_and_mode(report.responses):
        first, second = (_rounds(exam, path, those) for those in (before.get((path, mode), []), records))
        found = compare(first, second, exam.rule.summarise, report.settings.seed) if first and second else None
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
        raise ReportError(
            f"{baseline.checkpoint} and {report.checkpoint} share no answered question of "
            f"{report.settings.benchmark}: ask both the same ones, through the same paths"
        )
    return tuple(comparisons)


def differing_settings(first: Settings, second: Settings) -> list[str]:
    """Names of the settings that differ between two evaluations and affect their figures."""
    ignored = {"folder", "limit"}
    return [
        name for name in Settings.model_fields if name not in ignored and getattr(first, name) != getattr(second, name)
    ]


def _record(exam: Exam, question: Question, question_hash: str, response: Response) -> ResponseRecord:
    parsed = parse_response(response.path, response.text)
    scored = exam.rule.score(question, parsed.answer)
    return ResponseRecord(
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
        score=scored.score,
        extra=None if scored.extra is None else dict(scored.extra),
    )


def _figures(exam: Exam, path: ReasoningPath, mode: Mode, records: Sequence[ResponseRecord], seed: int) -> PathFigures:
    rounds = _rounds(exam, path, records)
    figures = figures_with_intervals(rounds, exam.rule.summarise, seed)
    return PathFigures(
        path=path,
        mode=mode,
        num_questions=len({scored.question.sample.sample_id for scores in rounds for scored in scores}),
        figures={name: Figure(value=value, low=at.low, high=at.high) for name, (value, at) in figures.items()},
        format_rate=sum(record.well_formed for record in records) / len(records),
    )


def _rounds(exam: Exam, path: ReasoningPath, records: Sequence[ResponseRecord]) -> list[list[ScoredAnswer]]:
    """Scores of one path and mode: a round for each of the responses that a question got."""
    questions = {q.sample.sample_id: q for q in exam.questions if path in q.sample.paths}
    by_member: dict[int, list[ScoredAnswer]] = {}
    for record in records:
        if record.sample_id in questions:
            scored = ScoredAnswer(questions[record.sample_id], record.answer, record.score, record.extra)
            by_member.setdefault(record.member, []).append(scored)
    return [complete(by_member[member], list(questions.values())) for member in sorted(by_member)]


def _by_path_and_mode(
    records: Sequence[ResponseRecord],
) -> list[tuple[tuple[ReasoningPath, Mode], list[ResponseRecord]]]:
    def key(record: ResponseRecord) -> tuple[ReasoningPath, Mode]:
        return record.path, record.mode

    ordered = sorted(records, key=lambda record: (list(ReasoningPath).index(record.path), record.mode))
    return [(name, list(those)) for name, those in groupby(ordered, key)]


def _hash(sample: SpatialSample) -> str:
    regions = [(region.mark, region.image_index, region.box_xyxy_px) for region in sample.regions]
    images = [image.sha256 for image in sample.images]
    asked = [sample.question, images, regions, sample.answer.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
