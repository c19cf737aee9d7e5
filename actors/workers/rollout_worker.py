"""A rollout worker: the Ray actor around one vLLM engine. `rollout_handle` places, calls and ends it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import ray

from actors.cluster.card_meter import CardMeter, CardTrack, start_meter
from actors.cluster.cards import Cards
from flow.score import Failure
from flow.trajectory import RolloutRequest, Trajectory
from rollout.canary import Canary
from rollout.config import RolloutConfig
from rollout.errors import in_one_line
from rollout.vitals import Vitals
from spatial.images import ImageStore
from vlm.config import PromptConfig

if TYPE_CHECKING:
    from rollout.engine import RolloutEngine


@dataclass(frozen=True)
class RolloutSpec:
    """What every worker of a pool is made from."""

    model: Path
    """The weights that an engine starts with; it does not serve before it has been synced."""
    images: tuple[Path, ...]
    """Image stores, searched in this order."""
    prompt: PromptConfig
    rollout: RolloutConfig
    on_gpu: bool
    """Whether engines compute on GPUs or on CPUs."""
    can_sleep: bool = False
    """Whether they take turns with the learner on the same cards."""


@dataclass(frozen=True)
class Processes:
    """The processes of a worker, by pid and start time, because pids are reused."""

    node_id: str
    born: dict[int, float]


class RolloutWorker:
    """Placement, health and lifetime of one `RolloutEngine`."""

    _engine: "RolloutEngine"

    def __init__(self, spec: RolloutSpec, name: str, cpu_cores: Sequence[int] | None, cards: Cards) -> None:
        """Does nothing that could fail: Ray reports why a call failed, but of a constructor only that it did.

        Args:
            cpu_cores: those of an engine on the CPU; None leaves them to the kernel.
            cards: those of an engine on GPUs.
        """
        self._spec = spec
        self._name = name
        self._cpu_cores = cpu_cores
        self._cards = cards
        self._meter: CardMeter | None = None

    async def start(self) -> "Processes":
        """Load the engine; returns its processes, for the coordinator to end if this one cannot."""
        # Not at the top: vLLM loads in this worker's process, and not in those that hold its handle.
        from rollout.engine import EngineSpec, RolloutEngine

        spec = self._spec
        self._engine = RolloutEngine(
            EngineSpec(
                model=spec.model,
                images=ImageStore(spec.images[0], spec.prompt.image_cache_mib, also=spec.images[1:]),
                prompt=spec.prompt,
                config=spec.rollout.engine,
                name=self._name,
                cpu_cores=self._cpu_cores,
                top_p=spec.rollout.sampling.top_p,
                on_gpu=spec.on_gpu,
                gpus=self._cards.own,
                can_sleep=spec.can_sleep,
            )
        )
        await self._engine.start()
        if spec.on_gpu:
            # Only now: it brings vLLM, which reads its environment when it is imported.
            self._meter = start_meter(self._name, self._cards.names)
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

    async def card_tracks(self) -> list[CardTrack]:
        """How busy its cards were, and how full their memory, since the last call; empty without GPUs."""
        return [] if self._meter is None else self._meter.take()

    async def generate(self, request: RolloutRequest) -> Trajectory | Failure:
        """One response, or a `Failure` if it could not be generated."""
        try:
            return await self._engine.generate(request)
        except Exception as error:  # the fault of the prompt or of the engine: the pool finds out which
            return Failure("rollout", in_one_line(error), attempts=1, by_deadline=isinstance(error, TimeoutError))

    # -- asked by the coordinator ------------------------------------------------------------------------------------

    async def pause(self) -> None:
        await self._engine.update.pause()

    async def resume(self) -> None:
        await self._engine.update.resume()

    async def sleep(self) -> float:
        """Give the cards' memory back; returns the GiB that each card has gained."""
        return await self._engine.sleep()

    async def wake_weights(self) -> None:
        await self._engine.update.wake_weights()

    async def weight_version(self) -> int:
        """The version that the engine itself reports."""
        return await self._engine.update.weight_version()

    async def received_checksums(self) -> list[dict[str, str]]:
        """BLAKE3 by name of the latest push's tensors, as each rank of the engine received them."""
        return await self._engine.update.received_checksums()

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        """Log-probabilities of the canary's response under the engine's weights."""
        return await self._engine.canary_logprobs(canary)

    # -- asked by the learner, see `WeightReceiver` ------------------------------------------------------------------

    async def join_transfer(self, init_info: dict[str, Any]) -> None:
        await self._engine.update.join_transfer(init_info)

    async def leave_transfer(self) -> None:
        await self._engine.update.leave_transfer()

    async def start_update(self, unchanged: Mapping[str, int], hashed: Sequence[str]) -> None:
        await self._engine.update.start_update(unchanged, hashed)

    async def receive_weights(self, update_info: dict[str, Any]) -> None:
        await self._engine.update.receive_weights(update_info)

    async def finish_update(self, version: int) -> None:
        await self._engine.update.finish_update(version)

    async def shutdown(self) -> None:
        await self._engine.shutdown()


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:  # it ended meanwhile
        return 0
