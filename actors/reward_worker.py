"""Reward workers: scoring in processes that can be killed, so that a grader that hangs costs one deadline."""

import asyncio
from collections.abc import Sequence

import ray

from actors.calls import DeadlineError, answer
from actors.config import DeadlineConfig
from rewards.config import RewardConfig
from rewards.custom import load_reward
from rewards.score import Failure, Score
from spatial.sample import Path, SpatialSample

Item = tuple[str, Path, SpatialSample]
"""What is scored: the response's text, its path, its sample."""


class RewardWorker:
    """One process that scores responses, one group a call."""

    def __init__(self, config: RewardConfig) -> None:
        self._reward = load_reward(config)

    def ready(self) -> bool:
        return True

    def score(self, items: Sequence[Item]) -> list[Score | Failure]:
        return [self._score(*item) for item in items]

    def _score(self, text: str, path: Path, sample: SpatialSample) -> Score | Failure:
        try:
            return self._reward(text, path, sample)
        except Exception as error:  # a grader's fault is an outcome of its own, told apart from a reward of 0
            return Failure(stage="score", reason=f"{type(error).__name__}: {error}", attempts=1)


_REMOTE = ray.remote(max_restarts=0)(RewardWorker)


class RewardPool:
    """A fixed number of reward workers; a call takes a free one."""

    def __init__(
        self, config: RewardConfig, *, num_workers: int, cpus: float, deadlines: DeadlineConfig, max_attempts: int
    ) -> None:
        self._config = config
        self._num_workers = num_workers
        self._cpus = cpus
        self._deadlines = deadlines
        self._max_attempts = max_attempts
        self._free: asyncio.Queue[ray.actor.ActorHandle] = asyncio.Queue()

    async def start(self) -> None:
        """Start every worker.

        Raises:
            DeadlineError: one of them did not come up.
        """
        await asyncio.gather(*(self._add_worker() for _ in range(self._num_workers)))

    async def _add_worker(self) -> None:
        worker = _REMOTE.options(num_cpus=self._cpus).remote(self._config)
        await answer(
            worker.ready.remote(),
            self._deadlines.start_s,
            waiter="coordinator",
            callee="reward worker",
            what=f"start (it asks Ray for {self._cpus:g} CPUs)",
        )
        self._free.put_nowait(worker)

    async def score(self, items: Sequence[Item]) -> list[Score | Failure]:
        """Scores in the order of `items`.

        A worker that dies or passes the deadline is killed and replaced and the call repeated; after the last attempt
        every item of the call is a `Failure`.
        """
        reason = ""
        for _ in range(self._max_attempts):
            worker = await self._free.get()
            try:
                result = await answer(
                    worker.score.remote(items),
                    self._deadlines.score_s,
                    waiter="coordinator",
                    callee="reward worker",
                    what=f"scores of {len(items)} responses to {items[0][2].sample_id}",
                )
            except (DeadlineError, ray.exceptions.RayActorError) as error:
                reason = str(error).splitlines()[0]
                ray.kill(worker)
                await self._add_worker()
            else:
                self._free.put_nowait(worker)
                return result
        return [Failure(stage="score", reason=reason, attempts=self._max_attempts)] * len(items)
