"""The coordinator's handle of a rollout worker, and the learner's: Ray actors behind typed ports."""

import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster.calls import DeadlineError, answer, call, why_gone
from actors.cluster.card_meter import CardTrack
from actors.cluster.placement import NoRoomError
from actors.cluster.rooms import Seat
from actors.config import DeadlineConfig
from actors.pool.worker import CannotStartError, WorkerDiedError, WorkerError, WorkerLateError
from actors.workers.places import Place
from actors.workers.rollout_worker import Processes, RolloutSpec, RolloutWorker
from flow.score import Failure
from flow.trajectory import RolloutRequest, Trajectory
from rollout.canary import Canary
from rollout.errors import in_one_line
from rollout.transfer.client import WeightReceiver
from rollout.vitals import Vitals

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class RayReceiver:
    """A `WeightReceiver`: the learner's handle of one rollout worker. It travels to the learner's ranks."""

    name: str
    num_ranks: int
    actor: ray.actor.ActorHandle

    def join_transfer(self, init_info: dict[str, Any]) -> Future[None]:
        return call(self.actor, RolloutWorker.join_transfer, init_info).future()

    def leave_transfer(self) -> Future[None]:
        return call(self.actor, RolloutWorker.leave_transfer).future()

    def start_update(self, unchanged: Mapping[str, int], hashed: Sequence[str]) -> Future[None]:
        return call(self.actor, RolloutWorker.start_update, unchanged, hashed).future()

    def receive_weights(self, update_info: dict[str, Any]) -> Future[None]:
        return call(self.actor, RolloutWorker.receive_weights, update_info).future()

    def finish_update(self, version: int) -> Future[None]:
        return call(self.actor, RolloutWorker.finish_update, version).future()


_REMOTE = ray.remote(max_restarts=0)(RolloutWorker)


class RolloutWorkerHandle:
    """A `Worker` of the pool: places one `RolloutWorker`, calls it under deadlines, and sees that it ends."""

    def __init__(
        self,
        spec: RolloutSpec,
        name: str,
        number: int,
        find_place: Callable[[int], Place],
        deadlines: DeadlineConfig,
        report: Callable[[str], None] = lambda message: None,
    ) -> None:
        """
        Args:
            number: of its place in the pool.
            find_place: where the engine with such a number lives.
        """
        self._spec = spec
        self.name = name
        self._number = number
        self._find_place = find_place
        self._deadlines = deadlines
        self._report = report
        self._place: Place | None = None
        self._seat: Seat | None = None
        self._processes: Processes | None = None
        self.actor: ray.actor.ActorHandle | None = None

    async def place(self) -> None:
        try:
            self._place = self._find_place(self._number)
            self._seat = await self._place.seat(self._deadlines.place_s, who=self.name, report=self._report)
        except (NoRoomError, ray.exceptions.RayError) as error:
            raise WorkerError(in_one_line(error)) from None

    async def start(self) -> None:
        config = self._spec.rollout
        assert self._seat is not None
        self.actor = _REMOTE.options(
            num_cpus=config.cpus_per_worker,
            resources=config.resources_per_worker,
            # The responses that may be in flight, and calls that must not wait behind them: probes, steps of a push.
            max_concurrency=2 * config.engine.max_num_seqs + 64,
            **self._seat.options(),
        ).remote(self._spec, self.name, _cores_of(self._number, self._spec), self._seat.cards)
        try:
            self._processes = await self._answer(
                call(self.actor, RolloutWorker.start), self._deadlines.start_s, "start"
            )
        except WorkerDiedError:
            raise
        except WorkerError as error:
            raise CannotStartError(str(error)) from None

    async def generate(self, request: RolloutRequest) -> Trajectory | Failure:
        what = f"a response to {request.sample.sample_id} through {request.path}"
        return await self._answer(call(self._actor, RolloutWorker.generate, request), self._deadlines.generate_s, what)

    async def probe(self) -> Vitals:
        what = "a token, to see that it is well"
        return await self._answer(call(self._actor, RolloutWorker.probe), self._deadlines.probe_s, what)

    async def card_tracks(self) -> list[CardTrack]:
        what = "its cards' figures"
        return await self._answer(call(self._actor, RolloutWorker.card_tracks), self._deadlines.probe_s, what)

    async def pause(self) -> None:
        await self._step(RolloutWorker.pause)

    async def resume(self) -> None:
        await self._step(RolloutWorker.resume)

    async def sleep(self) -> float:
        return await self._step(RolloutWorker.sleep)

    async def wake_weights(self) -> None:
        await self._step(RolloutWorker.wake_weights)

    async def weight_version(self) -> int:
        return await self._step(RolloutWorker.weight_version)

    async def received_checksums(self) -> list[dict[str, str]]:
        return await self._step(RolloutWorker.received_checksums)

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        return await self._step(RolloutWorker.canary_logprobs, canary)

    @property
    def receiver(self) -> WeightReceiver:
        return RayReceiver(self.name, self._spec.rollout.engine.tensor_parallel_size, self._actor)

    async def _step(
        self,
        method: Callable[Concatenate[RolloutWorker, P], Coroutine[Any, Any, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """A step of a weight push."""
        return await self._answer(call(self._actor, method, *args, **kwargs), self._deadlines.push_s, method.__name__)

    async def stop(self) -> None:
        if self.actor is not None:
            await self._answer(call(self.actor, RolloutWorker.shutdown), self._deadlines.stop_s, "shutdown")

    async def kill(self) -> None:
        if self.actor is not None:
            ray.kill(self.actor)
            self.actor = None
        if self._processes is not None:
            await self._reap(self._processes)
            self._processes = None
        if self._place is not None:
            self._place.leave()
            self._place = self._seat = None

    async def _reap(self, processes: Processes) -> None:
        """End what an engine leaves behind: a stopped child, for example, does not notice its parent's end."""
        place = NodeAffinitySchedulingStrategy(processes.node_id, soft=False)
        killed = _kill_processes.options(scheduling_strategy=place).remote(processes.born)
        try:
            await answer(killed, self._deadlines.stop_s, waiter="coordinator", callee=self.name, what="its processes")
        except (DeadlineError, ray.exceptions.RayError) as error:
            # If the node is gone, so are its processes.
            _log.warning("the processes of %s could not be looked after: %s", self.name, in_one_line(error))

    @property
    def _actor(self) -> ray.actor.ActorHandle:
        if self.actor is None:
            raise WorkerDiedError(f"{self.name} was ended")
        return self.actor

    async def _answer(self, pending: Awaitable[T], timeout_s: float, what: str) -> T:
        try:
            return await answer(pending, timeout_s, waiter="coordinator", callee=self.name, what=what)
        except ray.exceptions.RayError as error:
            raise WorkerDiedError(f"{self.name} died during: {what}: {why_gone(error)}") from None
        except DeadlineError as error:
            raise WorkerLateError(str(error)) from None
        except Exception as error:  # an error of its engine; another may do better
            raise WorkerError(in_one_line(error)) from None


@ray.remote(num_cpus=0, max_retries=0)
def _kill_processes(born: dict[int, float]) -> None:
    for pid, time_of_birth in born.items():
        try:
            process = psutil.Process(pid)
            if process.create_time() == time_of_birth:
                process.kill()
        except psutil.NoSuchProcess:
            continue


def _cores_of(number: int, spec: RolloutSpec) -> list[int] | None:
    """The cores that a CPU engine binds its threads to. If there are enough, no two engines share one.

    All cores are divided among the workers that the run begins with; workers that come later share cores with them.
    """
    if spec.on_gpu:
        return None
    cores = sorted(os.sched_getaffinity(0))
    stride = min(len(cores), max(1, spec.rollout.num_workers))
    return cores[number % stride :: stride]
