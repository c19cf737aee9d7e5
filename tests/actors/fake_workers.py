"""Rollout workers for tests of the pool and of the publisher: they answer at once, fail or hang, as a test wishes."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from actors.cluster.card_meter import CardTrack
from actors.pool.rollout_pool import RolloutPool
from actors.pool.worker import CannotStartError, EnginePort, WorkerDiedError, WorkerError
from flow.receipt import PushReceipt
from flow.score import Failure
from flow.trajectory import RolloutRequest, Trajectory
from rollout.canary import Canary
from rollout.config import HealthConfig
from rollout.errors import TransferError, WorkersFailedError
from rollout.transfer.client import WeightReceiver
from spatial.sample import ReasoningPath
from tests.actors.fakes import make_sample, make_trajectory

# Everything that waits, waits milliseconds.
HEALTH = HealthConfig(probe_every_s=0.01, restart_pause_s=0.01, max_restart_pause_s=0.02, max_failures=3, drain_s=0.2)
DEADLINE_S = 0.05


def make_requests(number: int, group: int = 0) -> list[RolloutRequest]:
    return [
        RolloutRequest(
            group_id=group,
            member=member,
            sample=make_sample(f"s{group}"),
            path=ReasoningPath.LOR,
            seed=member,
            temperature=1.0,
            max_response_tokens=8,
        )
        for member in range(number)
    ]


class FakeWorker:
    """A worker that breaks as its attributes say."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.version = -1
        self.received = {"w": ""}
        self.logprobs = [-1.0, -2.0]
        self.is_dead = self.is_hung = self.is_stopped = self.is_asleep = False
        self.fails_to_start = self.has_no_engine = self.refuses = False
        self.fails_at: set[str] = set()
        self.answers, self.has_room, self.may_load = asyncio.Event(), asyncio.Event(), asyncio.Event()
        for event in (self.answers, self.has_room, self.may_load):
            event.set()
        self.calls: list[str] = []
        self.num_asked = 0

    async def _pass(self, what: str) -> None:
        if self.is_hung:
            await asyncio.sleep(DEADLINE_S)
            raise WorkerError(f"coordinator waited for {self.name}: {what}")
        if self.is_dead:
            raise WorkerDiedError(f"{self.name} died during: {what}")
        if what in self.fails_at:
            raise WorkerError(f"{self.name}: {what} failed")

    async def place(self) -> None:
        await asyncio.sleep(0)
        await self.has_room.wait()

    async def start(self) -> None:
        await asyncio.sleep(0)
        await self.may_load.wait()
        if self.fails_to_start:
            raise CannotStartError(f"{self.name}: no such package")
        await self._pass("start")

    async def generate(self, request: RolloutRequest) -> Trajectory | Failure:
        assert not self.is_asleep
        self.num_asked += 1
        while not self.answers.is_set() and not self.is_dead:
            await asyncio.sleep(0.001)
        await self._pass("generate")
        if self.has_no_engine or self.refuses:
            return Failure("rollout", "not generated", 1)
        return make_trajectory(request, self.version)

    async def probe(self) -> None:
        await self._pass("probe")
        if self.has_no_engine:
            raise WorkerError(f"{self.name}: the engine is gone")

    async def card_tracks(self) -> list[CardTrack]:
        await self._pass("card_tracks")
        return [CardTrack(self.name, f"GPU-{self.number}", "NVIDIA H100", 80, ())]

    async def _step(self, what: str) -> None:
        """A step of a weight push."""
        self.calls.append(what)
        await self._pass(what)

    async def pause(self) -> None:
        await self._step("pause")

    async def resume(self) -> None:
        await self._step("resume")
        self.is_asleep = False

    async def sleep(self) -> float:
        await self._step("sleep")
        self.is_asleep = True
        return 30.0

    async def wake_weights(self) -> None:
        assert self.is_asleep
        await self._step("wake_weights")

    async def weight_version(self) -> int:
        await self._step("weight_version")
        return self.version

    async def received_checksums(self) -> list[dict[str, str]]:
        await self._step("received_checksums")
        return [self.received]

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        await self._step("canary_logprobs")
        return self.logprobs

    @property
    def receiver(self) -> WeightReceiver:
        raise AssertionError("a `FakeSender` sends to the worker itself")

    async def stop(self) -> None:
        self.is_stopped = True

    async def kill(self) -> None:
        self.is_dead = True


class FakeSender:
    """A learner that sends to the engines it is connected to; `failures` has the error of a push, by its number."""

    def __init__(self) -> None:
        self.workers: dict[str, FakeWorker] = {}
        self.connects: list[list[str]] = []
        self.pushes: list[int] = []
        self.num_put_away = 0
        self.may_end = asyncio.Event()
        """Pushes end while it is set."""
        self.may_end.set()
        self.failures: dict[int, TransferError] = {}
        self.corrupts: dict[int, str] = {}
        """The engine that receives wrong bytes, by the number of the push."""
        self.misleads: dict[int, tuple[str, float]] = {}
        """The engine that computes something else, and by how many nats a token, by the number of the push."""
        self.canaries: list[int] = []
        """The versions whose canary it computed."""

    async def connect(self, engines: Mapping[str, EnginePort]) -> None:
        self.workers = {name: engine for name, engine in engines.items() if isinstance(engine, FakeWorker)}
        self.connects.append(sorted(engines))

    async def put_away(self) -> float:
        self.num_put_away += 1
        return 20.0

    async def pack(self, version: int) -> None:
        self._note("packed")

    def _note(self, what: str) -> None:
        """Between the calls that the workers are given, for their order."""
        for worker in self.workers.values():
            worker.calls.append(what)

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        self.canaries.append(self.pushes[-1])
        return [-1.0, -2.0]

    async def push(self, version: int) -> PushReceipt:
        self.pushes.append(version)
        self._note("sent")
        await self.may_end.wait()
        if (failure := self.failures.pop(len(self.pushes), None)) is not None:
            if isinstance(failure, WorkersFailedError):
                for name in failure.causes:
                    self.workers[name].is_dead = True
            raise failure
        for worker in self.workers.values():
            worker.version = version
            misled, by = self.misleads.get(len(self.pushes), ("", 0.0))
            worker.logprobs = [-1.0 - by, -2.0 + by] if misled == worker.name else [-1.0, -2.0]
            worker.received = {"w": "wrong" if self.corrupts.get(len(self.pushes)) == worker.name else "right"}
        return PushReceipt(num_bytes=7, checksums={"w": "right"})


class Spawner:
    """Makes the workers and remembers them, the incarnations of a place in order."""

    def __init__(self) -> None:
        self.made: dict[str, list[FakeWorker]] = defaultdict(list)
        self.broken: set[str] = set()
        self.homeless: set[str] = set()
        """Those that find no room in the cluster."""
        self.slow: set[str] = set()
        """Those that find room, and load for ever."""
        self.dying: set[str] = set()
        """Those of which the first worker dies while it loads."""

    def __call__(self, name: str, number: int) -> FakeWorker:
        worker = FakeWorker(name, number)
        worker.fails_to_start = name in self.broken
        if name in self.homeless:
            worker.has_room.clear()
        if name in self.slow:
            worker.may_load.clear()
        worker.is_dead = name in self.dying and not self.made[name]
        self.made[name].append(worker)
        return worker

    def latest(self, name: str) -> FakeWorker:
        return self.made[name][-1]


def make_pool(max_attempts: int = 3, num_seats: int = 8) -> tuple[RolloutPool, Spawner]:
    spawner = Spawner()
    return RolloutPool(spawner, HEALTH, num_seats, max_attempts), spawner
