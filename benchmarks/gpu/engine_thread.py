"""A rollout engine beside a learner's weights in one process, as a test of a push needs them."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar

from benchmarks.gpu.asked import PROMPT
from flow.trajectory import RolloutRequest, Trajectory
from rollout.config import EngineConfig
from rollout.engine import EngineSpec, RolloutEngine
from spatial.images import ImageStore

T = TypeVar("T")
_TIMEOUT_S = 300.0


class EngineThread:
    """An engine with an event loop on a thread of its own; a `WeightReceiver`."""

    name = "rollout-0"
    num_ranks = 1

    def __init__(self, engine: RolloutEngine) -> None:
        self.engine = engine
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.on_receive: Callable[[], None] | None = None
        """Called, once, when an update has begun to arrive."""

    @classmethod
    def of_model(cls, model: Path, images: ImageStore, config: EngineConfig, on_gpu: bool) -> Self:
        """Around an engine of a model folder, which is not started yet."""
        cores = None if on_gpu else (0,)
        return cls(RolloutEngine(EngineSpec(model, images, PROMPT, config, cls.name, cpu_cores=cores, on_gpu=on_gpu)))

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.submit(work).result(_TIMEOUT_S)

    def start(self) -> None:
        self.run(self.engine.start())

    def generate(self, requests: Sequence[RolloutRequest]) -> list[Trajectory]:
        pending = [self.submit(self.engine.generate(request)) for request in requests]
        return [future.result(_TIMEOUT_S) for future in pending]

    def close(self) -> None:
        self.run(self.engine.shutdown())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    # As a `WeightReceiver`:

    def join_transfer(self, init_info: dict[str, Any]) -> Future[None]:
        return self.submit(self.engine.update.join_transfer(init_info))

    def leave_transfer(self) -> Future[None]:
        return self.submit(self.engine.update.leave_transfer())

    def start_update(self, unchanged: Mapping[str, int], hashed: Sequence[str]) -> Future[None]:
        return self.submit(self.engine.update.start_update(unchanged, hashed))

    def receive_weights(self, update_info: dict[str, Any]) -> Future[None]:
        received = self.submit(self.engine.update.receive_weights(update_info))
        if self.on_receive is not None:
            self.on_receive()
            self.on_receive = None
        return received

    def finish_update(self, version: int) -> Future[None]:
        return self.submit(self.engine.update.finish_update(version))
