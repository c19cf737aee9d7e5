"""The simulated parts of `benchmarks/coordinator.py`: engines, graders and a learner that sleep; and a CPU meter."""

import asyncio
import inspect
import threading
import time
import types
from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from actors.cluster.calls import DeadlineError, answer
from actors.cluster.card_meter import CardTrack
from actors.config import DeadlineConfig
from actors.pool.worker import EnginePort, WorkerDiedError, WorkerLateError
from flow.group import Group
from flow.receipt import PushReceipt
from flow.score import Failure, Score
from flow.trajectory import RolloutRequest, Trajectory, VersionSpan
from rollout.canary import Canary
from rollout.transfer.client import WeightReceiver
from spatial.sample import ReasoningPath, SpatialSample

T = TypeVar("T")

# A busy machine may be late with everything; that is not a fault here.
DEADLINES = DeadlineConfig(probe_s=600, score_s=600)
PROMPT_TOKEN_IDS = tuple(range(1000, 1024))
TEXT = "<think>the red point is nearer than the blue one: its centre lies at 2.03 m</think><answer>A</answer>"


class _Stages(threading.local):
    """The stages that a thread is in, and its CPU seconds when it last changed them."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.since_s = time.thread_time()


class Meter:
    """CPU seconds by stage, of every thread. Time in a stage within another counts for the inner one only."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = defaultdict(float)
        self._stages = _Stages()

    def enter(self, stage: str) -> None:
        self._account()
        self._stages.open.append(stage)

    def leave(self) -> None:
        self._account()
        self._stages.open.pop()

    def _account(self) -> None:
        now_s = time.thread_time()
        if self._stages.open:
            self.spent_s[self._stages.open[-1]] += now_s - self._stages.since_s
        self._stages.since_s = now_s

    def count(self, owner: object, method: str, stage: str) -> None:
        """Count the CPU time of `owner.method` as `stage` from now on."""
        inner = getattr(owner, method)

        async def awaited(*arguments: Any) -> Any:
            return await self.through(stage, inner(*arguments))

        def called(*arguments: Any) -> Any:
            self.enter(stage)
            try:
                return inner(*arguments)
            finally:
                self.leave()

        setattr(owner, method, awaited if inspect.iscoroutinefunction(inner) else called)

    @types.coroutine
    def through(self, stage: str, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Await `work`, and count its CPU time between its waits."""
        resume: Callable[[Any], Any] = work.send
        value: Any = None
        while True:
            self.enter(stage)
            try:
                waits_for = resume(value)
            except StopIteration as end:
                return end.value
            finally:
                self.leave()
            try:
                resume, value = work.send, (yield waits_for)
            except BaseException as error:  # a cancellation ends the work where it waits
                resume, value = work.throw, error


@dataclass
class World:
    """What the simulated parts share: how long they take, how often they fail, and how often they did."""

    meter: Meter
    generate_s: float = 0.5
    """Median of a response's generation; three in four lie within a factor of two, none beyond four."""
    score_s: float = 0.002
    update_s: float = 0.1
    push_s: float = 0.05
    control_s: float = 0.005
    """A probe, or one step of a push."""
    start_s: float = 0.2
    death_share: float = 4e-6
    """Share of responses during which the engine's process dies."""
    failing_share: float = 0.002
    """Share of responses whose scoring fails, each with another reason."""
    draw: Random = field(default_factory=lambda: Random(0))
    num_deaths: int = 0
    num_failures: int = 0

    def generation_s(self) -> float:
        return min(self.generate_s * self.draw.lognormvariate(0, 0.6), 4 * self.generate_s)


class SimulatedWorker:
    """An engine that sleeps. Its calls have deadlines, by the same function as those of a real one."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.name = name
        self.version = -1
        self._is_dead = False
        self._logprobs = tuple(world.draw.uniform(-3, 0) for _ in range(256))

    async def place(self) -> None:
        await self._answer(self._sleep(self._world.control_s), DEADLINES.place_s, "room")

    async def start(self) -> None:
        await self._answer(self._sleep(self._world.start_s), DEADLINES.start_s, "start")

    async def generate(self, request: RolloutRequest) -> Trajectory:
        what = f"a response to {request.sample.sample_id} through {request.path}"
        return await self._answer(self.respond(request), DEADLINES.generate_s, what)

    async def probe(self) -> None:
        await self._answer(self._sleep(self._world.control_s), DEADLINES.probe_s, "a token")

    async def card_tracks(self) -> list[CardTrack]:
        return []

    async def pause(self) -> None:
        await self._step("pause")

    async def resume(self) -> None:
        await self._step("resume")

    async def sleep(self) -> float:
        """It has nothing on a card."""
        return 0.0

    async def wake_weights(self) -> None:
        """It has nothing on a card."""

    async def weight_version(self) -> int:
        await self._step("weight_version")
        return self.version

    async def received_checksums(self) -> list[dict[str, str]]:
        await self._step("received_checksums")
        return [{"w": f"{self.version}"}]

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        raise AssertionError("the publisher is given no canary here")

    @property
    def receiver(self) -> WeightReceiver:
        raise AssertionError("the learner here sends to the worker itself")

    async def _step(self, what: str) -> None:
        """A step of a push."""
        await self._answer(self._sleep(self._world.control_s), DEADLINES.push_s, what)

    async def stop(self) -> None:
        pass

    async def kill(self) -> None:
        self._is_dead = True

    async def _answer(self, work: Coroutine[Any, Any, T], timeout_s: float, what: str) -> T:
        if self._is_dead:
            work.close()
            raise WorkerDiedError(f"{self.name} died during: {what}")
        simulated = self._world.meter.through("simulated", work)
        try:
            return await answer(simulated, timeout_s, waiter="coordinator", callee=self.name, what=what)
        except DeadlineError as error:
            raise WorkerLateError(str(error)) from None

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def respond(self, request: RolloutRequest) -> Trajectory:
        version = self.version
        await asyncio.sleep(self._world.generation_s())
        if self._world.draw.random() < self._world.death_share:
            self._is_dead = True
            self._world.num_deaths += 1
            raise WorkerDiedError(f"{self.name} died during: {request.sample.sample_id}")
        return self._trajectory(request, version)

    def _trajectory(self, request: RolloutRequest, version: int) -> Trajectory:
        num_tokens = 32 + request.seed % 64
        return Trajectory.answering(
            request,
            prompt_token_ids=PROMPT_TOKEN_IDS,
            response_token_ids=tuple(range(100, 100 + num_tokens)),
            rollout_logprobs=self._logprobs[request.seed % 100 :][:num_tokens],
            # As many versions as a push in mid-response leaves.
            version_spans=(VersionSpan(version, num_tokens - 16), VersionSpan(self.version, 16)),
            response_text=f"{request.seed} {TEXT}",
            finish_reason="stop",
            engine=self.name,
        )


class SimulatedRewards:
    """Graders that sleep, one group at a time each. Half of the responses are right."""

    def __init__(self, world: World, num_workers: int) -> None:
        self._world = world
        self._free = asyncio.Semaphore(num_workers)

    async def score(self, items: list[tuple[str, ReasoningPath, SpatialSample]]) -> list[Score | Failure]:
        async with self._free:
            work = self._world.meter.through("simulated", self.grade(items))
            return await answer(
                work,
                DEADLINES.score_s,
                waiter="coordinator",
                callee="reward worker",
                what=f"scores of {len(items)} responses",
            )

    async def grade(self, items: list[tuple[str, ReasoningPath, SpatialSample]]) -> list[Score | Failure]:
        await asyncio.sleep(self._world.score_s)
        return [self._grade(text, sample) for text, _, sample in items]

    def _grade(self, text: str, sample: SpatialSample) -> Score | Failure:
        if self._world.draw.random() < self._world.failing_share:
            self._world.num_failures += 1
            return Failure("score", f"number {self._world.num_failures}, at {sample.sample_id}", 3)
        seed = int(text[: text.index(" ")])
        total = float(seed // 64 % 2)
        return Score(total=total, accuracy=total, format=1.0)


class SimulatedLearner:
    """Sleeps through updates and pushes; what it pushes is a number."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._workers: list[SimulatedWorker] = []
        self.num_trained = 0
        """Trajectories."""

    async def update(self, groups: list[Group]) -> Mapping[str, float]:
        await asyncio.sleep(self._world.update_s)
        self.num_trained += sum(len(group.trajectories) for group in groups)
        return {"loss": 0.0}

    async def save_checkpoint(self, step: int, loop_state: Mapping[str, object]) -> None:
        await asyncio.sleep(self._world.update_s)

    async def connect(self, engines: Mapping[str, EnginePort]) -> None:
        self._workers = [engine for engine in engines.values() if isinstance(engine, SimulatedWorker)]

    async def put_away(self) -> float:
        """It has nothing on a card."""
        return 0.0

    async def pack(self, version: int) -> None:
        """Nothing is packed: a number travels."""

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        raise AssertionError("the publisher is given no canary here")

    async def push(self, version: int) -> PushReceipt:
        await asyncio.sleep(self._world.push_s)
        for worker in self._workers:
            worker.version = version
        return PushReceipt(num_bytes=1, checksums={"w": f"{version}"})
