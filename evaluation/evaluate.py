"""Held-out questions through the engines: who is right, who keeps the format, how far the centres are off."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Self

from evaluation.config import EvaluationConfig
from rewards.reward import center_errors_m, is_correct, predicted_centers_m
from rewards.score import Failure, Score
from rollout.trajectory import RolloutRequest, Trajectory
from spatial.sample import ChoiceAnswer, Path, SpatialSample, Vector3

Generate = Callable[[Sequence[RolloutRequest]], Awaitable[Sequence[Trajectory | Failure]]]
"""All responses of one group, in order."""
Reward = Callable[[str, Path, SpatialSample], Score]


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
class PathResult:
    """One path's marks on held-out questions; shares in [0, 1].

    `accuracy`, `reward`, `format_rate` and `center_error_m_median` are over responses sampled at the training
    temperature; a number answer counts as right within 25 %.
    """

    accuracy: float
    accuracy_greedy: float | None
    reward: float
    format_rate: float
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


@dataclass(frozen=True)
class EvaluationResult:
    """Every path's marks, and the responses that they are made of."""

    paths: dict[Path, PathResult]
    judged: tuple["Judged", ...]

    def as_dict(self) -> dict[str, object]:
        return {path.value: asdict(result) for path, result in self.paths.items()}


@dataclass(frozen=True)
class Judged:
    """One response with its marks."""

    sample_id: str
    path: Path
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


async def evaluate(
    samples: Sequence[SpatialSample],
    generate: Generate,
    reward: Reward,
    config: EvaluationConfig,
    temperature: float,
    max_response_tokens: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> EvaluationResult:
    """Ask every path's questions and mark the answers.

    Args:
        generate: responses to one group of requests; called for many groups at once.
        temperature: of the sampled responses.
        on_progress: called with (groups done, groups in all).
    """
    asked = {path: [s for s in samples if path in s.paths][: config.num_questions] for path in config.paths}
    total = sum(map(len, asked.values()))
    done = 0

    async def ask(sample: SpatialSample, path: Path, index: int) -> tuple[list[Judged], list[Judged], int]:
        nonlocal done
        requests = _requests(sample, path, index, config, temperature, max_response_tokens)
        responses = await generate(requests)
        sampled: list[Judged] = []
        greedy: list[Judged] = []
        for request, response in zip(requests, responses, strict=True):
            if isinstance(response, Trajectory):
                is_greedy = request.temperature == 0
                (greedy if is_greedy else sampled).append(_judge(response, sample, path, is_greedy, reward))
        done += 1
        on_progress(done, total)
        return sampled, greedy, len(requests) - len(sampled) - len(greedy)

    results, judged = {}, []
    for path, questions in asked.items():
        if questions:
            marks = await asyncio.gather(*(ask(sample, path, index) for index, sample in enumerate(questions)))
            sampled = [mark for group, _, _ in marks for mark in group]
            greedy = [mark for _, group, _ in marks for mark in group]
            results[path] = _summarise(sampled, greedy, len(questions), sum(failed for _, _, failed in marks))
            judged += sampled + greedy
    return EvaluationResult(results, tuple(judged))


def _requests(
    sample: SpatialSample, path: Path, index: int, config: EvaluationConfig, temperature: float, max_tokens: int
) -> list[RolloutRequest]:
    temperatures = [temperature] * config.num_samples + [0.0] * config.greedy
    return [
        RolloutRequest(
            group_id=index,
            member=member,
            sample=sample,
            path=path,
            # Seeds differ between questions and members, and are the same for every model that is compared.
            seed=(config.seed * 1_000_003 + index * 101 + member) % 2**31,
            temperature=each,
            max_response_tokens=max_tokens,
        )
        for member, each in enumerate(temperatures)
    ]


def _judge(response: Trajectory, sample: SpatialSample, path: Path, is_greedy: bool, reward: Reward) -> Judged:
    text = response.response_text
    return Judged(
        sample_id=sample.sample_id,
        path=path,
        is_greedy=is_greedy,
        num_options=sample.answer.num_options if isinstance(sample.answer, ChoiceAnswer) else 0,
        response=text,
        centers_m=predicted_centers_m(text, path, sample),
        kind=sample.kind,
        domain=sample.domain,
        correct=is_correct(text, path, sample),
        score=reward(text, path, sample),
        center_errors_m=center_errors_m(text, path, sample),
    )


def _summarise(sampled: list[Judged], greedy: list[Judged], num_questions: int, num_failures: int) -> PathResult:
    errors_m = [error for mark in sampled for error in mark.center_errors_m or ()]
    by_domain: dict[str, list[float]] = defaultdict(list)
    for mark in sampled:
        if mark.center_errors_m:
            by_domain[mark.domain] += mark.center_errors_m
    return PathResult(
        accuracy=fmean(mark.correct for mark in sampled) if sampled else 0.0,
        accuracy_greedy=fmean(mark.correct for mark in greedy) if greedy else None,
        reward=fmean(mark.score.total for mark in sampled) if sampled else 0.0,
        format_rate=fmean(mark.score.format for mark in sampled) if sampled else 0.0,
        center_error_m_median=median(errors_m) if errors_m else None,
        centers_by_domain={domain: CenterMarks.of(errors) for domain, errors in sorted(by_domain.items())},
        accuracy_by_domain=_accuracy_by(lambda mark: mark.domain, sampled),
        accuracy_by_kind=_accuracy_by(lambda mark: mark.kind, sampled),
        accuracy_greedy_by_kind=_accuracy_by(lambda mark: mark.kind, greedy),
        accuracy_two_options=_two_options(sampled),
        accuracy_two_options_greedy=_two_options(greedy),
        num_questions=num_questions,
        num_failures=num_failures,
    )


def same_questions(judged: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """How often each reasoning path is right on the questions that both were asked: in all ("all") and by kind."""
    reasoned = [mark for mark in judged if mark.path is not Path.DIRECT and not mark.is_greedy]
    both = {mark.sample_id for mark in reasoned if mark.path is Path.LOR} & {
        mark.sample_id for mark in reasoned if mark.path is Path.DTR
    }
    shared: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for mark in reasoned:
        if mark.sample_id in both:
            shared["all"][mark.path.value].append(mark.correct)
            shared[mark.kind][mark.path.value].append(mark.correct)
    return {kind: {path: fmean(rights) for path, rights in paths.items()} for kind, paths in sorted(shared.items())}


def _two_options(marks: list[Judged]) -> float | None:
    rights = [mark.correct for mark in marks if mark.num_options == 2]
    return fmean(rights) if rights else None


def _accuracy_by(key: Callable[[Judged], str], marks: list[Judged]) -> dict[str, float]:
    rights: dict[str, list[bool]] = defaultdict(list)
    for mark in marks:
        rights[key(mark)].append(mark.correct)
    return {name: fmean(those) for name, those in sorted(rights.items())}


def summarise(result: EvaluationResult, seconds: float) -> dict[str, object]:
    """One phase's part of `summary.json`."""
    lor, dtr, direct = (result.paths.get(path) for path in (Path.LOR, Path.DTR, Path.DIRECT))
    present = [marks for marks in (lor, dtr, direct) if marks is not None]
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
        "format_rate": sum(marks.format_rate for marks in present) / len(present),
        "center_error_m_median": dtr and dtr.center_error_m_median,
        "same_questions": same_questions(result.judged),
        "seconds": seconds,
        "paths": result.as_dict(),
    }
