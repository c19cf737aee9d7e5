"""Marks on held-out questions: who is right, who keeps the format, how far the centres are off. Pure."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Self

from evaluation.statistics import Interval, mean_interval
from flow.score import Score
from spatial.sample import ReasoningPath, Vector3

HIT_BELOW_M = (0.1, 0.2, 0.3, 0.4, 0.5, 1.0)


@dataclass(frozen=True)
class CenterMarks:
    """How far predicted centres of regions are from the true ones."""

    num_centers: int
    error_m_median: float
    hit_rates: dict[str, float]
    """Share of centres nearer than each of `HIT_BELOW_M`, by its text in metres ("0.1")."""

    @classmethod
    def of(cls, errors_m: Sequence[float]) -> Self:
        return cls(
            num_centers=len(errors_m),
            error_m_median=median(errors_m),
            hit_rates={str(limit): fmean(error < limit for error in errors_m) for limit in HIT_BELOW_M},
        )


@dataclass(frozen=True)
class Judged:
    """One response with its marks."""

    sample_id: str
    path: ReasoningPath
    kind: str
    domain: str
    is_greedy: bool
    num_options: int
    """Of the question; 0 where it is no multiple choice."""
    response: str
    correct: bool
    score: Score
    centers_m: tuple[Vector3, ...]
    """The predicted centres of regions, in the order in which they are written."""
    center_errors_m: tuple[float, ...] | None


@dataclass(frozen=True)
class PathResult:
    """One path's marks on held-out questions; shares in [0, 1].

    `accuracy`, `reward`, `format_rate` and the centres are over responses sampled at the evaluation's temperature; a
    number answer counts as right within 25 %. A mark is None where there is nothing that it could be the mean of.
    """

    accuracy: float | None
    accuracy_interval: Interval | None
    """Of 95 %, over draws of the questions (`evaluation.statistics`); so are the other intervals."""
    accuracy_greedy: float | None
    accuracy_greedy_interval: Interval | None
    reward: float | None
    reward_interval: Interval | None
    format_rate: float | None
    center_error_m_median: float | None
    """Over all readable centres of regions, matched one to one; None for a path that gives none."""
    centers_by_domain: dict[str, CenterMarks]
    """The same centres, by the family of scenes or the data set they come from."""
    accuracy_by_domain: dict[str, float]
    accuracy_by_kind: dict[str, float]
    accuracy_greedy_by_kind: dict[str, float]
    accuracy_two_options: float | None
    """In questions of two options, where chance is a half; None: there are none."""
    accuracy_two_options_greedy: float | None
    num_questions: int
    num_failures: int

    @classmethod
    def of(cls, judged: Sequence[Judged], num_questions: int, num_failures: int, seed: int) -> Self:
        """
        Args:
            judged: all responses through the path.
            seed: of the intervals.
        """
        sampled = [mark for mark in judged if not mark.is_greedy]
        greedy = [mark for mark in judged if mark.is_greedy]
        errors_m = [error for mark in sampled for error in mark.center_errors_m or ()]
        by_domain: dict[str, list[float]] = defaultdict(list)
        for mark in sampled:
            if mark.center_errors_m:
                by_domain[mark.domain] += mark.center_errors_m
        return cls(
            accuracy=_mean(sampled, _correct),
            accuracy_interval=_interval(sampled, _correct, seed),
            accuracy_greedy=_mean(greedy, _correct),
            accuracy_greedy_interval=_interval(greedy, _correct, seed),
            reward=_mean(sampled, _reward),
            reward_interval=_interval(sampled, _reward, seed),
            format_rate=_mean(sampled, lambda mark: mark.score.format),
            center_error_m_median=median(errors_m) if errors_m else None,
            centers_by_domain={domain: CenterMarks.of(errors) for domain, errors in sorted(by_domain.items())},
            accuracy_by_domain=_accuracy_by(lambda mark: mark.domain, sampled),
            accuracy_by_kind=_accuracy_by(lambda mark: mark.kind, sampled),
            accuracy_greedy_by_kind=_accuracy_by(lambda mark: mark.kind, greedy),
            accuracy_two_options=_mean([mark for mark in sampled if mark.num_options == 2], _correct),
            accuracy_two_options_greedy=_mean([mark for mark in greedy if mark.num_options == 2], _correct),
            num_questions=num_questions,
            num_failures=num_failures,
        )


@dataclass(frozen=True)
class EvaluationResult:
    """Every path's marks, and the responses that they are made of."""

    paths: dict[ReasoningPath, PathResult]
    judged: tuple[Judged, ...]

    def as_dict(self) -> dict[str, object]:
        return {path.value: asdict(result) for path, result in self.paths.items()}


def same_questions(judged: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """How often each reasoning path is right on the questions that both were asked: in all ("all") and by kind."""
    reasoned = [mark for mark in judged if mark.path is not ReasoningPath.DIRECT and not mark.is_greedy]
    both = {mark.sample_id for mark in reasoned if mark.path is ReasoningPath.LOR} & {
        mark.sample_id for mark in reasoned if mark.path is ReasoningPath.DTR
    }
    shared: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for mark in reasoned:
        if mark.sample_id in both:
            shared["all"][mark.path.value].append(mark.correct)
            shared[mark.kind][mark.path.value].append(mark.correct)
    return {kind: {path: fmean(rights) for path, rights in paths.items()} for kind, paths in sorted(shared.items())}


def summarise(result: EvaluationResult, seconds: float) -> dict[str, object]:
    """One phase's part of `summary.json`."""
    lor, dtr, direct = (result.paths.get(path) for path in (ReasoningPath.LOR, ReasoningPath.DTR, ReasoningPath.DIRECT))
    formats = [marks.format_rate for marks in (lor, dtr, direct) if marks and marks.format_rate is not None]
    return {
        "lor_accuracy": lor and lor.accuracy,
        "dtr_accuracy": dtr and dtr.accuracy,
        "direct_accuracy": direct and direct.accuracy,
        "lor_accuracy_greedy": lor and lor.accuracy_greedy,
        "dtr_accuracy_greedy": dtr and dtr.accuracy_greedy,
        "direct_accuracy_greedy": direct and direct.accuracy_greedy,
        "lor_two_options": lor and lor.accuracy_two_options,
        "lor_two_options_greedy": lor and lor.accuracy_two_options_greedy,
        "dtr_two_options": dtr and dtr.accuracy_two_options,
        "dtr_two_options_greedy": dtr and dtr.accuracy_two_options_greedy,
        "lor_reward": lor and lor.reward,
        "dtr_reward": dtr and dtr.reward,
        "format_rate": fmean(formats) if formats else None,
        "center_error_m_median": dtr and dtr.center_error_m_median,
        "intervals": _intervals(result),
        "same_questions": same_questions(result.judged),
        "seconds": seconds,
        "paths": result.as_dict(),
    }


def _intervals(result: EvaluationResult) -> dict[str, list[float]]:
    """Low and high of 95 %, by the name of the mark in the summary."""
    found = {
        f"{path.value}_{name}": interval
        for path, marks in result.paths.items()
        for name, interval in (
            ("accuracy", marks.accuracy_interval),
            ("accuracy_greedy", marks.accuracy_greedy_interval),
            ("reward", marks.reward_interval),
        )
    }
    return {name: [interval.low, interval.high] for name, interval in found.items() if interval is not None}


def _correct(mark: Judged) -> float:
    return float(mark.correct)


def _reward(mark: Judged) -> float:
    return mark.score.total


def _mean(marks: Sequence[Judged], value: Callable[[Judged], float]) -> float | None:
    return fmean(map(value, marks)) if marks else None


def _interval(marks: Sequence[Judged], value: Callable[[Judged], float], seed: int) -> Interval | None:
    by_question: dict[str, list[float]] = defaultdict(list)
    for mark in marks:
        by_question[mark.sample_id].append(value(mark))
    return mean_interval(list(by_question.values()), seed)


def _accuracy_by(key: Callable[[Judged], str], marks: Sequence[Judged]) -> dict[str, float]:
    rights: dict[str, list[bool]] = defaultdict(list)
    for mark in marks:
        rights[key(mark)].append(mark.correct)
    return {name: fmean(those) for name, those in sorted(rights.items())}
