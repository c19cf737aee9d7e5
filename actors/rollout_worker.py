"""Rollout workers: one vLLM engine each, in its own placement group, and the pool that shares requests among them."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.calls import DeadlineError, answer, answers
from actors.config import DeadlineConfig
from rewards.score import Failure
from rollout.config import RolloutConfig
from rollout.trajectory import RolloutRequest, Trajectory
from spatial.images import ImageStore
from vlm.config import PromptConfig


@dataclass(frozen=True)
class RolloutSpec:
    """What every worker of a pool is made from."""

    checkpoint: FilePath
    """The weights an engine starts with; it does not serve before it was synced."""
    images: FilePath
    prompt: PromptConfig
    rollout: RolloutConfig


class RolloutWorker:
    """Placement, health and lifetime of one `RolloutEngine`."""

    def __init__(self, spec: RolloutSpec, name: str, cpu_cores: Sequence[int] | None) -> None:
        from rollout.engine import RolloutEngine  # vLLM loads in the worker, not in whoever holds its handle

        self._engine = RolloutEngine(
            checkpoint=spec.checkpoint,
            images=ImageStore(spec.images),
            prompt=spec.prompt,
            config=spec.rollout.engine,
            name=name,
            cpu_cores=cpu_cores,
            top_p=spec.rollout.sampling.top_p,
        )

    async def start(self) -> list[int]:
        """Load the engine; returns the ids of its processes, for whoever must see to it that they end."""
        await self._engine.start()
        return [os.getpid(), *self._engine.child_pids]

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        """Responses in the order of `requests`; a member that could not be generated is a `Failure`."""
        responses = await asyncio.gather(*map(self._engine.generate, requests), return_exceptions=True)
        return [response if isinstance(response, Trajectory) else _failure(response) for response in responses]

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

    async def shutdown(self) -> None:
        await self._engine.shutdown()


def _failure(error: BaseException) -> Failure:
    if not isinstance(error, Exception):
        raise error
    return Failure(stage="rollout", reason=f"{type(error).__name__}: {error}", attempts=1)


_REMOTE = ray.remote(max_restarts=0)(RolloutWorker)


class RolloutPool:
    """A fixed set of rollout workers."""

    def __init__(self, spec: RolloutSpec, deadlines: DeadlineConfig, max_attempts: int) -> None:
        self._spec = spec
        self._deadlines = deadlines
        self._max_attempts = max_attempts
        self._groups: list[ray.util.placement_group.PlacementGroup] = []
        self.workers: dict[str, ray.actor.ActorHandle] = {}
        self.process_ids: list[int] = []
        self._load: dict[str, int] = {}

    async def start(self) -> None:
        """Start every worker and wait until its engine is loaded.

        Raises:
            DeadlineError: a worker found no room in the cluster, or did not load in time.
        """
        config = self._spec.rollout
        for index in range(config.num_workers):
            name = f"rollout-{index}"
            bundle = {"CPU": config.cpus_per_worker, "GPU": config.gpus_per_worker}
            group = placement_group([{key: amount for key, amount in bundle.items() if amount}])
            self._groups.append(group)
            self.workers[name] = _REMOTE.options(
                num_cpus=config.cpus_per_worker,
                num_gpus=config.gpus_per_worker,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group),
            ).remote(self._spec, name, _cores_of(index, config))
            self._load[name] = 0
        starts = {name: worker.start.remote() for name, worker in self.workers.items()}
        started = await answers(starts, self._deadlines.start_s, waiter="coordinator", what="engine start")
        self.process_ids = [process_id for ids in started for process_id in ids]

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        """Responses in the order of `requests`, all by one worker, the least loaded: they share prompt and images.

        Members that failed are asked for again, of whichever worker is least loaded then.
        """
        results: list[Trajectory | Failure] = [Failure("rollout", "not tried", 0)] * len(requests)
        missing = list(range(len(requests)))
        for attempt in range(1, self._max_attempts + 1):
            responses = await self._ask_one_worker([requests[index] for index in missing])
            for index, response in zip(missing, responses, strict=True):
                results[index] = replace(response, attempts=attempt) if isinstance(response, Failure) else response
            missing = [index for index, result in enumerate(results) if isinstance(result, Failure)]
            if not missing:
                break
        return results

    async def _ask_one_worker(self, requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        if not self.workers:
            raise RuntimeError("no rollout worker is alive; the reasons are in the failures logged before")
        name = min(self.workers, key=lambda worker: self._load[worker])
        self._load[name] += len(requests)
        try:
            return await answer(
                self.workers[name].generate.remote(requests),
                self._deadlines.generate_s,
                waiter="coordinator",
                callee=name,
                what=f"{len(requests)} responses to {requests[0].sample.sample_id} through {requests[0].path}",
            )
        except ray.exceptions.RayActorError as error:
            self.workers.pop(name, None)
            return [Failure("rollout", f"{name} died: {str(error).splitlines()[0]}", 1)] * len(requests)
        except DeadlineError as error:
            return [Failure("rollout", str(error), 1)] * len(requests)
        finally:
            self._load[name] -= len(requests)

    async def call_all(self, method: str, *arguments: object, what: str) -> list[object]:
        """The same call to every worker, under the deadline of a push."""
        calls = {name: getattr(worker, method).remote(*arguments) for name, worker in self.workers.items()}
        return await answers(calls, self._deadlines.push_s, waiter="coordinator", what=what)

    async def shutdown(self) -> None:
        """End every engine and its child processes, then the workers."""
        calls = {name: worker.shutdown.remote() for name, worker in self.workers.items()}
        try:
            await answers(calls, self._deadlines.stop_s, waiter="coordinator", what="shutdown")
        finally:
            for worker in self.workers.values():
                ray.kill(worker)
            for group in self._groups:
                remove_placement_group(group)
            self.workers, self._groups = {}, []


def _cores_of(index: int, config: RolloutConfig) -> list[int] | None:
    """The cores that a CPU engine binds its threads to: a fair share each, so that no two engines fight over one."""
    if config.gpus_per_worker:
        return None
    cores = sorted(os.sched_getaffinity(0))
    return (
        cores[index % len(cores) :: config.num_workers]
        if config.num_workers <= len(cores)
        else [cores[index % len(cores)]]
    )
