"""Rollout workers: one vLLM engine each, a Ray actor in its own placement group."""

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil
import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from actors.cluster.calls import DeadlineError, answer, why_gone
from actors.cluster.placement import NoRoomError, await_room, runtime_env
from actors.config import DeadlineConfig
from actors.pool.member import CannotStartError, WorkerDiedError, WorkerError, WorkerLateError
from flow.score import Failure
from flow.trajectory import RolloutRequest, Trajectory
from rollout.canary import Canary
from rollout.config import RolloutConfig
from rollout.errors import told
from rollout.vitals import Vitals
from spatial.images import ImageStore
from vlm.config import PromptConfig

if TYPE_CHECKING:
    from rollout.engine import RolloutEngine

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class RolloutSpec:
    """What every worker of a pool is made from."""

    checkpoint: Path
    """The weights an engine starts with; it does not serve before it was synced."""
    images: tuple[Path, ...]
    """Stores that are looked into in this order."""
    prompt: PromptConfig
    rollout: RolloutConfig


@dataclass(frozen=True)
class Processes:
    """The processes of a worker: each by its number and its time of birth, for numbers are given again."""

    node_id: str
    born: dict[int, float]


class RolloutWorker:
    """Placement, health and lifetime of one `RolloutEngine`."""

    _engine: "RolloutEngine"

    def __init__(self, spec: RolloutSpec, name: str, cpu_cores: Sequence[int] | None) -> None:
        """Nothing that could fail: Ray tells the cause of a call's failure, and of a constructor's only the end."""
        self._spec = spec
        self._name = name
        self._cpu_cores = cpu_cores

    async def start(self) -> "Processes":
        """Load the engine; returns its processes, for whoever must see to it that they end."""
        from rollout.engine import RolloutEngine  # vLLM loads in the worker, not in whoever holds its handle

        spec = self._spec
        self._engine = RolloutEngine(
            checkpoint=spec.checkpoint,
            images=ImageStore(spec.images[0], spec.prompt.image_cache_mib, also=spec.images[1:]),
            prompt=spec.prompt,
            config=spec.rollout.engine,
            name=self._name,
            cpu_cores=self._cpu_cores,
            top_p=spec.rollout.sampling.top_p,
            on_gpu=spec.rollout.gpus_per_worker > 0,
        )
        await self._engine.start()
        processes = map(psutil.Process, [os.getpid(), *self._engine.child_pids])
        return Processes(
            node_id=ray.get_runtime_context().get_node_id(),
            born={process.pid: process.create_time() for process in processes},
        )

    async def probe(self) -> Vitals:
        """Have the engine generate a token."""
        await self._engine.health_probe()
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        return Vitals(self._engine.num_tokens, self._engine.usage, sum(map(_resident_bytes, processes)) / 2**30)

    async def generate(self, request: RolloutRequest) -> Trajectory | Failure:
        """One response; one that could not be generated is a `Failure`."""
        try:
            return await self._engine.generate(request)
        except Exception as error:  # a prompt's fault, or the engine's: the pool finds out, and tells them apart
            return Failure("rollout", told(error), attempts=1, by_deadline=isinstance(error, TimeoutError))

    async def transfer(self, method: str, *arguments: object) -> object:
        """One call of the learner's weight transfer, such as `init_transfer`, to the engine."""
        return await getattr(self._engine, method)(*arguments)

    async def pause(self) -> None:
        await self._engine.pause()

    async def resume(self) -> None:
        await self._engine.resume()

    async def weight_version(self) -> int:
        """The version that the engine itself reports."""
        return await self._engine.weight_version()

    async def received_checksums(self) -> list[dict[str, str]]:
        """Of the latest push, as each rank of the engine received it."""
        return await self._engine.received_checksums()

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        """What the engine makes of the canary's response."""
        return await self._engine.canary_logprobs(canary)

    async def shutdown(self) -> None:
        await self._engine.shutdown()


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:  # it ended meanwhile
        return 0


_REMOTE = ray.remote(max_restarts=0)(RolloutWorker)


class RayRolloutWorker:
    """The pool's hand on one `RolloutWorker`: places it, calls it under deadlines, and sees to its end."""

    def __init__(
        self,
        spec: RolloutSpec,
        name: str,
        number: int,
        deadlines: DeadlineConfig,
        report: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._spec = spec
        self.name = name
        self._number = number
        self._deadlines = deadlines
        self._report = report
        self._placement: ray.util.placement_group.PlacementGroup | None = None
        self._processes: Processes | None = None
        self.actor: ray.actor.ActorHandle | None = None

    async def place(self) -> None:
        config = self._spec.rollout
        asked = {"CPU": config.cpus_per_worker, "GPU": config.gpus_per_worker}
        bundle = {key: amount for key, amount in asked.items() if amount} | config.resources_per_worker
        # One group a worker: a cluster that scales itself adds a node for it, and takes the node away with it.
        self._placement = placement_group([bundle])
        try:
            await await_room(
                self._placement.ready(), bundle, self._deadlines.place_s, who=self.name, report=self._report
            )
        except (NoRoomError, ray.exceptions.RayError) as error:
            raise WorkerError(told(error)) from None

    async def start(self) -> None:
        config = self._spec.rollout
        assert self._placement is not None
        self.actor = _REMOTE.options(
            num_cpus=config.cpus_per_worker,
            num_gpus=config.gpus_per_worker,
            resources=config.resources_per_worker,
            runtime_env=runtime_env(config.gpus_per_worker),
            # All that may be under way, and the calls that must not wait behind it: probes, steps of a push.
            max_concurrency=2 * config.engine.max_num_seqs + 64,
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._placement),
        ).remote(self._spec, self.name, _cores_of(self._number, config))
        try:
            self._processes = await self._answer(self.actor.start.remote(), self._deadlines.start_s, "start")
        except WorkerDiedError:
            raise
        except WorkerError as error:
            raise CannotStartError(str(error)) from None

    async def generate(self, request: RolloutRequest) -> Trajectory | Failure:
        what = f"a response to {request.sample.sample_id} through {request.path}"
        return await self._answer(self._actor.generate.remote(request), self._deadlines.generate_s, what)

    async def probe(self) -> Vitals:
        what = "a token, to see that it is well"
        return await self._answer(self._actor.probe.remote(), self._deadlines.probe_s, what)

    async def call(self, method: str, *arguments: object) -> object:
        return await self._answer(getattr(self._actor, method).remote(*arguments), self._deadlines.push_s, method)

    async def stop(self) -> None:
        if self.actor is not None:
            await self._answer(self.actor.shutdown.remote(), self._deadlines.stop_s, "shutdown")

    async def kill(self) -> None:
        if self.actor is not None:
            ray.kill(self.actor)
            self.actor = None
        if self._processes is not None:
            await self._reap(self._processes)
            self._processes = None
        if self._placement is not None:
            remove_placement_group(self._placement)
            self._placement = None

    async def _reap(self, processes: Processes) -> None:
        """End what an engine leaves behind: a child that was stopped, for one, does not notice its parent's end."""
        place = NodeAffinitySchedulingStrategy(processes.node_id, soft=False)
        killed = _kill_processes.options(scheduling_strategy=place).remote(processes.born)
        try:
            await answer(killed, self._deadlines.stop_s, waiter="coordinator", callee=self.name, what="its processes")
        except (DeadlineError, ray.exceptions.RayError) as error:
            # When the node is gone, so are its processes.
            _log.warning("the processes of %s could not be looked after: %s", self.name, told(error))

    @property
    def _actor(self) -> ray.actor.ActorHandle:
        if self.actor is None:
            raise WorkerDiedError(f"{self.name} was ended")
        return self.actor

    async def _answer(self, call: Awaitable[T], timeout_s: float, what: str) -> T:
        try:
            return await answer(call, timeout_s, waiter="coordinator", callee=self.name, what=what)
        except ray.exceptions.RayError as error:
            raise WorkerDiedError(f"{self.name} died during: {what}: {why_gone(error)}") from None
        except DeadlineError as error:
            raise WorkerLateError(str(error)) from None
        except Exception as error:  # whatever its engine raised: another may do better
            raise WorkerError(told(error)) from None


@ray.remote(num_cpus=0, max_retries=0)
def _kill_processes(born: dict[int, float]) -> None:
    for pid, time_of_birth in born.items():
        try:
            process = psutil.Process(pid)
            if process.create_time() == time_of_birth:
                process.kill()
        except psutil.NoSuchProcess:
            continue


def _cores_of(number: int, config: RolloutConfig) -> list[int] | None:
    """The cores that a CPU engine binds its threads to: as far as there are enough, no two engines share one.

    With as many workers as the run begins with, all cores are dealt out; those that come later take turns.
    """
    if config.gpus_per_worker:
        return None
    cores = sorted(os.sched_getaffinity(0))
    stride = min(len(cores), max(1, config.num_workers))
    return cores[number % stride :: stride]
