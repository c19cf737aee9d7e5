"""Reward workers: scoring in processes that can be killed, so that a grader that hangs costs only a deadline."""

import asyncio
import resource
from collections.abc import Callable, Sequence
from dataclasses import replace

import psutil
import ray

from actors.cluster.calls import DeadlineError, answer, call, why_gone
from actors.cluster.cards import NO_CARDS
from actors.cluster.placement import await_room
from actors.config import ClusterConfig
from flow.score import Failure, Score
from rewards.config import RewardConfig
from rewards.custom import line_of, load_reward
from rewards.score_check import ScoreError
from spatial.sample import ReasoningPath, SpatialSample

Item = tuple[str, ReasoningPath, SpatialSample]
"""A response to score: its text, its path, its sample."""


class RewardWorker:
    """One process that scores responses, one group a call.

    Args:
        config: the reward.
        memory_gib: most memory that scoring may take on top of what the process has once the reward is loaded; None for
            no bound.
    """

    def __init__(self, config: RewardConfig, memory_gib: float | None = None) -> None:
        self._config = config
        self._memory_gib = memory_gib

    def ready(self) -> bool:
        return True

    def load(self) -> None:
        """Load the reward."""
        self._reward = load_reward(self._config)
        _bound_memory(self._memory_gib)

    def score(self, items: Sequence[Item]) -> list[Score | Failure]:
        return [self._score(*item) for item in items]

    def _score(self, text: str, path: ReasoningPath, sample: SpatialSample) -> Score | Failure:
        """
        Raises:
            MemoryError: the reward took more than it may. It may still hold that memory: this process is of no more
                use.
        """
        try:
            return self._reward(text, path, sample)
        except MemoryError:
            _bound_memory(None)  # otherwise there is no memory left to answer with
            raise MemoryError(f"scoring took more than cluster.reward_memory_gib={self._memory_gib}") from None
        except ScoreError as error:  # its message is complete
            return Failure(stage="score", reason=str(error), attempts=1)
        except Exception as error:  # a grader's fault is another outcome than a reward of 0
            return Failure(stage="score", reason=f"{type(error).__name__}: {error} ({line_of(error)})", attempts=1)


def _bound_memory(gib: float | None) -> None:
    """Make allocations fail that would take this process more than `gib` beyond its present memory.

    None removes the bound. The kernel enforces it at once, for any code: a watchdog would look too late, or not at all
    while other code holds the interpreter. It counts private memory alone, so that Ray's object store does not matter,
    as it would for a bound on the address space.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = hard if gib is None else psutil.Process().memory_info().data + int(gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


_REMOTE = ray.remote(max_restarts=0)(RewardWorker)


class RewardStartError(RuntimeError):
    """Scoring cannot begin: the reward does not load in its process, or the process has ended."""


class RewardPool:
    """A fixed number of reward workers; a call takes a free one.

    Args:
        config: the reward.
        cluster: how many workers, the resources of each, and the deadline of scoring.
        max_attempts: how many times a response is tried before its failure is final.
        report: called with a message when a worker finds no room in the cluster.
    """

    def __init__(
        self,
        config: RewardConfig,
        cluster: ClusterConfig,
        max_attempts: int,
        report: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._config = config
        self._report = report
        self._cluster = cluster
        self._max_attempts = max_attempts
        self._free: asyncio.Queue[ray.actor.ActorHandle] = asyncio.Queue()

    async def start(self) -> None:
        """Start every worker.

        Raises:
            NoRoomError: one of them found no room in the cluster.
            RewardStartError: one of them cannot; the message says why.
        """
        for worker in await asyncio.gather(*(self._new_worker() for _ in range(self._cluster.num_reward_workers))):
            self._free.put_nowait(worker)

    async def _new_worker(self) -> ray.actor.ActorHandle:
        cpus = self._cluster.reward_worker_cpus
        worker = _REMOTE.options(num_cpus=cpus, runtime_env=NO_CARDS.runtime_env()).remote(
            self._config, self._cluster.reward_memory_gib
        )
        deadlines, who = self._cluster.deadlines, "reward worker"
        try:
            await await_room(
                call(worker, RewardWorker.ready), {"CPU": cpus}, deadlines.place_s, who=who, report=self._report
            )
            await answer(
                call(worker, RewardWorker.load), deadlines.start_s, waiter="coordinator", callee=who, what="start"
            )
        except ray.exceptions.RayError as error:
            raise RewardStartError(f"a reward worker cannot start: {why_gone(error)}") from None
        return worker

    async def score(self, items: Sequence[Item]) -> list[Score | Failure]:
        """Scores in the order of `items`.

        All go to one worker. Responses without a score are tried again, each alone, so that one which kills its worker
        is found, and the others wait for it no longer than one deadline. One that fails in the last attempt is a
        `Failure`.
        """
        outcomes = await self._attempt(items, 1)
        for attempt in range(2, self._max_attempts + 1):
            failed = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, Failure)]
            alone = await asyncio.gather(*(self._attempt([items[index]], attempt) for index in failed))
            for index, (outcome,) in zip(failed, alone, strict=True):
                outcomes[index] = outcome
        return outcomes

    async def _attempt(self, items: Sequence[Item], attempt: int) -> list[Score | Failure]:
        """One call. A worker that dies, or exceeds its deadline or its memory, is killed and replaced."""
        worker = await self._free.get()
        try:
            outcomes = await answer(
                call(worker, RewardWorker.score, items),
                self._cluster.deadlines.score_s,
                waiter="coordinator",
                callee="reward worker",
                what=f"scores of {len(items)} responses to {items[0][2].sample_id}",
            )
        except (DeadlineError, MemoryError, ray.exceptions.RayError) as error:
            reason = why_gone(error) if isinstance(error, ray.exceptions.RayError) else str(error)
            is_late = isinstance(error, DeadlineError)
            outcomes = [Failure(stage="score", reason=reason, attempts=1, by_deadline=is_late)] * len(items)
            ray.kill(worker)
            worker = await self._new_worker()
        finally:
            # Also if the caller has stopped waiting.
            self._free.put_nowait(worker)
        return [replace(outcome, attempts=attempt) if isinstance(outcome, Failure) else outcome for outcome in outcomes]
