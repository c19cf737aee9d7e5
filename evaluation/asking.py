"""Questions through the engines: who is asked what, with which seed, and how many at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from evaluation.config import EvaluationConfig
from flow.score import Failure
from flow.trajectory import RolloutRequest, Trajectory
from rollout.config import RolloutConfig
from spatial.sample import ReasoningPath, SpatialSample

Generate = Callable[[Sequence[RolloutRequest]], Awaitable[Sequence[Trajectory | Failure]]]
"""All responses of one group, in order."""
T = TypeVar("T")


@dataclass(frozen=True)
class Response:
    """What was answered, without the tokens."""

    sample_id: str
    path: ReasoningPath
    member: int
    """Which of the question's responses; the greedy one is the last."""
    is_greedy: bool
    text: str

    @classmethod
    def of(cls, trajectory: Trajectory, sample: SpatialSample, is_greedy: bool) -> Self:
        return cls(trajectory.sample_id, trajectory.path, trajectory.member, is_greedy, trajectory.response_text)


@dataclass(frozen=True)
class Unanswered:
    """A response that failed. Counted, and in no mean."""

    sample_id: str
    path: ReasoningPath
    reason: str


@dataclass(frozen=True)
class Asked(Generic[T]):
    """What became of the questions."""

    num_questions: dict[ReasoningPath, int]
    """By path; paths without a question are left out."""
    answers: tuple[T, ...]
    """Question by question, path by path."""
    failures: tuple[Unanswered, ...]
    seconds: float


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn, and how many."""

    temperatures: tuple[float, ...]
    """Of each response to a question; 0: greedy."""
    max_response_tokens: int
    seed: int
    max_groups: int | None = None
    """Questions that are under way at once; None: all (the pool has those wait that it has no room for)."""

    @classmethod
    def of(cls, config: EvaluationConfig, rollout: RolloutConfig) -> Self:
        """As an evaluation wants it."""
        temperature = config.temperature or rollout.sampling.temperature
        temperatures = (temperature,) * config.num_samples + (0.0,) * config.greedy
        return cls(
            temperatures=temperatures,
            max_response_tokens=rollout.sampling.max_response_tokens,
            seed=config.seed,
        )


async def ask(
    questions: Mapping[ReasoningPath, Sequence[SpatialSample]],
    generate: Generate,
    judge: Callable[[Trajectory, SpatialSample, bool], T | Unanswered],
    sampling: Sampling,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Asked[T]:
    """Ask every path's questions.

    Args:
        generate: responses to one group of requests; called for many groups at once.
        judge: what is kept of a response, given its sample and whether it is greedy, or why it counts as unanswered;
            called as responses come.
        on_progress: called with (groups done, groups in all).

    Raises:
        ExceptionGroup: `generate` or `judge` raised; nothing is asked any more.
    """
    started_s = time.perf_counter()
    total, done = sum(map(len, questions.values())), 0
    free = asyncio.Semaphore(total if sampling.max_groups is None else sampling.max_groups)

    async def ask_one(sample: SpatialSample, path: ReasoningPath, index: int) -> list[T | Unanswered]:
        nonlocal done
        requests = _requests(sample, path, index, sampling)
        async with free:
            responses = await generate(requests)
        done += 1
        on_progress(done, total)
        return [
            judge(response, sample, request.temperature == 0)
            if isinstance(response, Trajectory)
            else Unanswered(sample.sample_id, path, response.reason)
            for request, response in zip(requests, responses, strict=True)
        ]

    async with asyncio.TaskGroup() as tasks:
        groups = [
            tasks.create_task(ask_one(sample, path, index))
            for path, samples in questions.items()
            for index, sample in enumerate(samples)
        ]
    outcomes = [outcome for group in groups for outcome in group.result()]
    return Asked(
        num_questions={path: len(samples) for path, samples in questions.items() if samples},
        answers=tuple(outcome for outcome in outcomes if not isinstance(outcome, Unanswered)),
        failures=tuple(outcome for outcome in outcomes if isinstance(outcome, Unanswered)),
        seconds=time.perf_counter() - started_s,
    )


def _requests(sample: SpatialSample, path: ReasoningPath, index: int, sampling: Sampling) -> list[RolloutRequest]:
    return [
        RolloutRequest(
            group_id=index,
            member=member,
            sample=sample,
            path=path,
            # Seeds differ between questions and members, and are the same for every model that is compared.
            seed=(sampling.seed * 1_000_003 + index * 101 + member) % 2**31,
            temperature=temperature,
            max_response_tokens=sampling.max_response_tokens,
        )
        for member, temperature in enumerate(sampling.temperatures)
    ]
