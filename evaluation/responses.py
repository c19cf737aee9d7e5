"""Responses of a model to questions: which requests are made, with which seeds, and how many at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from evaluation.config import EvaluationConfig
from flow.score import Failure
from flow.trajectory import RolloutRequest, Trajectory
from spatial.sample import ReasoningPath, SpatialSample

Generate = Callable[[Sequence[RolloutRequest]], Awaitable[Sequence[Trajectory | Failure]]]
"""Returns a trajectory or a failure for each request of one group, in order."""
T = TypeVar("T")


@dataclass(frozen=True)
class Response:
    """What a model wrote, without the tokens."""

    sample_id: str
    path: ReasoningPath
    member: int
    """Number of the response among those to its question; the greedy one is the last."""
    is_greedy: bool
    text: str

    @classmethod
    def of(cls, trajectory: Trajectory, sample: SpatialSample, is_greedy: bool) -> Self:
        return cls(trajectory.sample_id, trajectory.path, trajectory.member, is_greedy, trajectory.response_text)


@dataclass(frozen=True)
class FailedResponse:
    """A response that failed. It is counted, and enters no mean."""

    sample_id: str
    path: ReasoningPath
    reason: str


@dataclass(frozen=True)
class Responses(Generic[T]):
    """All responses to a set of questions, in whichever form the caller keeps them."""

    num_questions: dict[ReasoningPath, int]
    """Number of questions by path; paths without a question are left out."""
    succeeded: tuple[T, ...]
    """Question by question, path by path."""
    failed: tuple[FailedResponse, ...]
    seconds: float


@dataclass(frozen=True)
class Sampling:
    """How responses are sampled, and how many to each question."""

    temperatures: tuple[float, ...]
    """The temperature of each response to a question; 0: greedy."""
    max_response_tokens: int
    seed: int
    max_groups: int | None = None
    """Most questions that are under way at once; None: no limit (the pool queues what it has no room for)."""

    @classmethod
    def of(cls, config: EvaluationConfig, training_temperature: float, max_response_tokens: int) -> Self:
        """The sampling that an evaluation's config asks for.

        Args:
            training_temperature: used where the config sets none.
        """
        temperature = config.temperature or training_temperature
        temperatures = (temperature,) * config.num_samples + (0.0,) * config.greedy
        return cls(temperatures=temperatures, max_response_tokens=max_response_tokens, seed=config.seed)


async def ask(
    questions: Mapping[ReasoningPath, Sequence[SpatialSample]],
    generate: Generate,
    keep: Callable[[Trajectory, SpatialSample, bool], T | FailedResponse],
    sampling: Sampling,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Responses[T]:
    """Ask every path's questions.

    Args:
        generate: generates the responses to one group of requests; called for many groups at once.
        keep: turns a trajectory, its sample, and whether it is greedy into what the caller keeps of it, or into a
            failure; called as responses arrive.
        on_progress: called with (groups done, groups in all).

    Raises:
        ExceptionGroup: `generate` or `keep` raised an exception; no further question is asked.
    """
    started_s = time.perf_counter()
    total, done = sum(map(len, questions.values())), 0
    free = asyncio.Semaphore(total if sampling.max_groups is None else sampling.max_groups)

    async def ask_one(sample: SpatialSample, path: ReasoningPath, index: int) -> list[T | FailedResponse]:
        nonlocal done
        requests = _requests(sample, path, index, sampling)
        async with free:
            responses = await generate(requests)
        done += 1
        on_progress(done, total)
        return [
            keep(response, sample, request.temperature == 0)
            if isinstance(response, Trajectory)
            else FailedResponse(sample.sample_id, path, response.reason)
            for request, response in zip(requests, responses, strict=True)
        ]

    async with asyncio.TaskGroup() as tasks:
        groups = [
            tasks.create_task(ask_one(sample, path, index))
            for path, samples in questions.items()
            for index, sample in enumerate(samples)
        ]
    kept = [each for group in groups for each in group.result()]
    return Responses(
        num_questions={path: len(samples) for path, samples in questions.items() if samples},
        succeeded=tuple(each for each in kept if not isinstance(each, FailedResponse)),
        failed=tuple(each for each in kept if isinstance(each, FailedResponse)),
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
