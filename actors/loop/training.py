"""Reinforcement learning as one algorithm.

    feed      dataset → prompts           waits for: room under the staleness bound   woken by: a published version,
                                                                                      a filtered group
    roll out  prompts → trajectories      waits for: the least loaded worker          woken by: its reply
    score     trajectories → groups       waits for: a free reward worker             woken by: its reply, a deadline
    learn     groups → a new version      waits for: a full batch of every path       woken by: a completed group
    publish   version → engines           waits for: every engine's acknowledgement   woken by: a new version

Where learner and engines take turns on the same cards, engines sleep while the learner learns, and a push wakes them.
`max_staleness = 0` makes the same loops synchronous: a prompt is fed only when the weights that it will train are out.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from actors.cluster.tasks import Start, background
from actors.config import TrainingConfig
from actors.loop.books import Batch, Books
from actors.loop.collector import rare_collections
from actors.loop.group_maker import GroupMaker
from actors.loop.lane import Lane
from actors.loop.step_record import CompleteStep, StepRecorder, StepTimer
from actors.loop.validation import Validation
from actors.pool.turns import AllAtOnce, Turns
from actors.pool.waits import Waits
from flow.group import Group


class Learner(Protocol):
    async def update(self, groups: list[Group]) -> Mapping[str, float]: ...

    async def save_checkpoint(self, step: int, loop_state: Mapping[str, object]) -> None: ...


class Publisher(Protocol):
    exclusive: asyncio.Lock
    """Held while the learner's weights are not those of the published version."""

    async def publish(self, version: int) -> Mapping[str, float]: ...


class Trainer:
    """The loops that join rollout, scoring and learning. Holds versions, positions and counts, and no tensors.

    Large because it joins eight parts, and has five attributes of its own.
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        books: Books,
        groups: GroupMaker,
        learner: Learner,
        publisher: Publisher,
        recorder: StepRecorder,
        waits: Waits,
        turns: Turns | None = None,
        validation: Validation | None = None,
    ) -> None:
        self._config = config
        self._books = books
        self._groups = groups
        self._learner = learner
        self._publisher = publisher
        self._recorder = recorder
        self._waits = waits
        self._turns = turns or AllAtOnce()
        self._validation = validation
        self._start: Start
        """Starts a task that ends with the loops."""
        self._changed = asyncio.Event()
        self._is_stopping = False
        self._saved_step = -1
        self.version = 0

    async def run(self) -> None:
        """Train until `num_steps` versions exist, or until `stop`; a checkpoint is written either way.

        Raises:
            ExceptionGroup: one of the loops failed; every other one was ended.
        """
        with rare_collections():
            async with background() as self._start:
                while self.version < self._config.num_steps and await self._step():
                    if self.version % self._config.checkpoint_every == 0:
                        await self._checkpoint()
        await self._checkpoint()

    async def _step(self) -> bool:
        """Make a new version; False: asked to stop before there was a batch."""
        timer = StepTimer()
        with timer.part("learn", "wait"):
            self._feed()
            if self._validation is not None:
                self._validation.begin(self.version, self._start)
            batch = await self._next_batch()
        if batch is None:
            return False
        async with self._publisher.exclusive:
            await self._learn_and_publish(batch, timer)
        return True

    def _feed(self) -> None:
        if not self._is_stopping:
            for lane, index in self._books.issue():
                self._start(self._make_group(lane, index))

    async def _make_group(self, lane: Lane, index: int) -> None:
        group = await self._groups.make(lane.feed, index)
        if not self._books.enter(lane, group):
            self._feed()
        if lane.batch_is_ready:
            self._changed.set()

    async def _next_batch(self) -> Batch | None:
        """The oldest ready groups of every path once there are enough of each, or None when asked to stop."""
        with self._waits.on("learn", self._books.describe_missing):
            while not self._is_stopping and not self._books.batch_is_ready:
                self._changed.clear()
                await self._changed.wait()
        if self._is_stopping:
            return None
        try:
            return self._books.take()
        except ValueError as error:
            raise RuntimeError(f"step {self.version + 1}: {error}{self._groups.describe_failures()}") from None

    async def _learn_and_publish(self, batch: Batch, timer: StepTimer) -> None:
        turn_metrics = await self._turns.begin_learning()
        with timer.part("learn", "update"), self._waits.on("learn", "the learner: an update"):
            learner_metrics = await self._learner.update(batch.trained)
        push = f"the engines: a push of version {self.version + 1}"
        with timer.part("publish", "push"), self._waits.on("publish", push):
            push_metrics = await self._publisher.publish(self.version + 1)
        self.version += 1
        self._books.settle()
        validation_metrics = self._validation.take() if self._validation is not None else {}
        await self._recorder.record(
            CompleteStep(
                version=self.version,
                batch=batch,
                work=self._groups.take_work(self.version),
                timer=timer,
                measured={**turn_metrics, **learner_metrics, **push_metrics, **validation_metrics},
            )
        )

    def stop(self) -> None:
        """End soon: what is in flight is given up now, kept in the checkpoint, and issued again by a resume."""
        self._is_stopping = True
        self._changed.set()

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps, beside the learner's weights."""
        return {
            "step": self.version,
            "num_rollout_workers": self._groups.num_workers,
            "lanes": self._books.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; the learner and the engines must have been given the same version's weights."""
        self.version = self._saved_step = state["step"]
        self._books.restore(state["lanes"])

    async def _checkpoint(self) -> None:
        if self._saved_step != self.version:
            await self._learner.save_checkpoint(self.version, self.state())
            self._saved_step = self.version
