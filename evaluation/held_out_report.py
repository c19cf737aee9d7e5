"""Figures on held-out questions: accuracy, reward, kept format, errors of centres. Pure functions."""

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
class CenterFigures:
    """Distances of predicted centres of regions from the true ones."""

    num_centers: int
    error_m_median: float
    hit_rates: dict[str, float]
    """Share of centres with an error below each of `HIT_BELOW_M`, by the bound in metres ("0.1")."""

    @classmethod
    def of(cls, errors_m: Sequence[float]) -> Self:
        return cls(
            num_centers=len(errors_m),
            error_m_median=median(errors_m),
            hit_rates={str(limit): fmean(error < limit for error in errors_m) for limit in HIT_BELOW_M},
        )


@dataclass(frozen=True)
class ScoredResponse:
    """One response with its scores: a line of `evaluations/PHASE.jsonl`, so its fields' names are a file format."""

    sample_id: str
    path: ReasoningPath
    kind: str
    domain: str
    is_greedy: bool
    num_options: int
    """Number of options of the question; 0: not multiple choice."""
    response: str
    correct: bool
    score: Score
    centers_m: tuple[Vector3, ...]
    """Predicted centres of regions, in the order of the response."""
    center_errors_m: tuple[float, ...] | None


@dataclass(frozen=True)
class HeldOutFigures:
    """One path's figures on held-out questions; shares in [0, 1]. The names of the fields are those of `summary.json`.

    `accuracy`, `reward`, `format_rate` and the centres are over responses sampled at the evaluation's temperature; a
    number counts as right within 25 % of the truth. A figure is None if there is no response that it could be made of.
    """

    accuracy: float | None
    accuracy_interval: Interval | None
    """95 % interval over draws of the questions (`evaluation.statistics`), as are the other intervals."""
    accuracy_greedy: float | None
    accuracy_greedy_interval: Interval | None
    reward: float | None
    reward_interval: Interval | None
    format_rate: float | None
    center_error_m_median: float | None
    """Over all readable centres of regions, matched one to one; None: the path predicts none."""
    centers_by_domain: dict[str, CenterFigures]
    """The same centres by domain: the family of scenes or the data set of the sample."""
    accuracy_by_domain: dict[str, float]
    accuracy_by_kind: dict[str, float]
    accuracy_greedy_by_kind: dict[str, float]
    accuracy_two_options: float | None
    """Accuracy on questions with two options, where guessing gives 0.5; None: there are none."""
    accuracy_two_options_greedy: float | None
    num_questions: int
    num_failures: int

    @classmethod
    def of(cls, responses: Sequence[ScoredResponse], num_questions: int, num_failures: int, seed: int) -> Self:
        """
        Args:
            responses: all of the path.
            seed: of the intervals.
        """
        sampled = [response for response in responses if not response.is_greedy]
        greedy = [response for response in responses if response.is_greedy]
        errors_m = [error for response in sampled for error in response.center_errors_m or ()]
        by_domain: dict[str, list[float]] = defaultdict(list)
        for response in sampled:
            if response.center_errors_m:
                by_domain[response.domain] += response.center_errors_m
        return cls(
            accuracy=_mean(sampled, _correct),
            accuracy_interval=_interval(sampled, _correct, seed),
            accuracy_greedy=_mean(greedy, _correct),
            accuracy_greedy_interval=_interval(greedy, _correct, seed),
            reward=_mean(sampled, _reward),
            reward_interval=_interval(sampled, _reward, seed),
            format_rate=_mean(sampled, lambda response: response.score.format),
            center_error_m_median=median(errors_m) if errors_m else None,
            centers_by_domain={domain: CenterFigures.of(errors) for domain, errors in sorted(by_domain.items())},
            accuracy_by_domain=_accuracy_by(lambda response: response.domain, sampled),
            accuracy_by_kind=_accuracy_by(lambda response: response.kind, sampled),
            accuracy_greedy_by_kind=_accuracy_by(lambda response: response.kind, greedy),
            accuracy_two_options=_mean([response for response in sampled if response.num_options == 2], _correct),
            accuracy_two_options_greedy=_mean([response for response in greedy if response.num_options == 2], _correct),
            num_questions=num_questions,
            num_failures=num_failures,
        )


@dataclass(frozen=True)
class HeldOutReport:
    """The figures of every path, and the responses that they are made of."""

    paths: dict[ReasoningPath, HeldOutFigures]
    responses: tuple[ScoredResponse, ...]

    def as_dict(self) -> dict[str, object]:
        return {path.value: asdict(figures) for path, figures in self.paths.items()}


def same_questions(responses: Sequence[ScoredResponse]) -> dict[str, dict[str, float]]:
    """Accuracy of LOR and of DTR on the questions that both were asked: over all ("all") and by kind of question."""
    reasoned = [
        response for response in responses if response.path is not ReasoningPath.DIRECT and not response.is_greedy
    ]
    both = {response.sample_id for response in reasoned if response.path is ReasoningPath.LOR} & {
        response.sample_id for response in reasoned if response.path is ReasoningPath.DTR
    }
    shared: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for response in reasoned:
        if response.sample_id in both:
            shared["all"][response.path.value].append(response.correct)
            shared[response.kind][response.path.value].append(response.correct)
    return {kind: {path: fmean(rights) for path, rights in paths.items()} for kind, paths in sorted(shared.items())}


def summary_of(report: HeldOutReport, seconds: float) -> dict[str, object]:
    """One phase's part of `summary.json`."""
    lor, dtr, direct = (report.paths.get(path) for path in (ReasoningPath.LOR, ReasoningPath.DTR, ReasoningPath.DIRECT))
    formats = [figures.format_rate for figures in (lor, dtr, direct) if figures and figures.format_rate is not None]
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
        "intervals": _intervals(report),
        "same_questions": same_questions(report.responses),
        "seconds": seconds,
        "paths": report.as_dict(),
    }


def _intervals(report: HeldOutReport) -> dict[str, list[float]]:
    """Low and high end of the 95 % intervals, by the name of the figure in the summary."""
    found = {
        f"{path.value}_{name}": interval
        for path, figures in report.paths.items()
        for name, interval in (
            ("accuracy", figures.accuracy_interval),
            ("accuracy_greedy", figures.accuracy_greedy_interval),
            ("reward", figures.reward_interval),
        )
    }
    return {name: [interval.low, interval.high] for name, interval in found.items() if interval is not None}


def _correct(response: ScoredResponse) -> float:
    return float(response.correct)


def _reward(response: ScoredResponse) -> float:
    return response.score.total


def _mean(responses: Sequence[ScoredResponse], value: Callable[[ScoredResponse], float]) -> float | None:
    return fmean(map(value, responses)) if responses else None


def _interval(
    responses: Sequence[ScoredResponse], value: Callable[[ScoredResponse], float], seed: int
) -> Interval | None:
    by_question: dict[str, list[float]] = defaultdict(list)
    for response in responses:
        by_question[response.sample_id].append(value(response))
    return mean_interval(list(by_question.values()), seed)


def _accuracy_by(key: Callable[[ScoredResponse], str], responses: Sequence[ScoredResponse]) -> dict[str, float]:
    rights: dict[str, list[bool]] = defaultdict(list)
    for response in responses:
        rights[key(response)].append(response.correct)
    return {name: fmean(values) for name, values in sorted(rights.items())}
