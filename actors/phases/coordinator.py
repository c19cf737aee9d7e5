"""The coordinator: one Ray actor that owns a run's session, so that whoever watches or steers reaches it by Ray."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import ray

from actors.config import SessionConfig
from actors.phases.session import Session
from actors.pool.member import MemberStatus
from actors.pool.scaling import Steer
from actors.run.run_folder import RunFolder
from actors.run.status import RunStatus
from evaluation.config import EvaluationConfig
from evaluation.exam import Exam
from evaluation.responses import Response, Responses
from spatial.sample import SpatialSample

T = TypeVar("T")


class Coordinator:
    """Runs one phase at a time; the other calls answer while it runs."""

    def __init__(self, config: SessionConfig, root: Path, resolved: Mapping[str, object]) -> None:
        self._session = Session(config, RunFolder(root), resolved)

    async def _unless_stopped(self, phase: Awaitable[T]) -> T | None:
        """What a phase returns; None where a stop has cancelled it."""
        try:
            return await phase
        except asyncio.CancelledError:
            if not self._session.is_stopping:
                raise
            return None

    async def cold_start(self, checkpoint: Path, resume_from: Path | None) -> dict[str, object] | None:
        return await self._unless_stopped(self._session.cold_start(checkpoint, resume_from))

    async def train(
        self, checkpoint: Path, resume_from: Path | None, exams: Sequence[Exam]
    ) -> dict[str, object] | None:
        return await self._unless_stopped(self._session.train(checkpoint, resume_from, exams))

    async def evaluate(
        self, checkpoint: Path, samples: Sequence[SpatialSample], config: EvaluationConfig, images: Path
    ) -> Responses[Response] | None:
        return await self._unless_stopped(self._session.evaluate(checkpoint, samples, config, images))

    async def rollout_only(self, checkpoint: Path) -> None:
        await self._unless_stopped(self._session.rollout_only(checkpoint))

    async def learner_only(self, checkpoint: Path, recorded: Path) -> list[dict[str, float]] | None:
        return await self._unless_stopped(self._session.learner_only(checkpoint, recorded))

    async def export(self, base: Path, checkpoint: Path, target: Path) -> None:
        await self._unless_stopped(self._session.export(base, checkpoint, target))

    async def status(self) -> RunStatus:
        return self._session.status()

    async def watch(self) -> None:
        """Look for waits that last too long, until the run ends; they are in `status`."""
        await self._session.watch()

    async def scale(self, num_rollouts: int) -> list[MemberStatus]:
        """Grow or shrink the rollout pool; returns at once.

        Raises:
            ValueError: the run's config does not allow that many, or it has no pool yet.
        """
        return self._session.scale(num_rollouts)

    async def steer(self, what: Steer, worker: str) -> None:
        """Let a rollout worker go when it has finished, or put another in its place now.

        Raises:
            ValueError: there is no such worker, or the pool would become too small.
        """
        self._session.steer(what, worker)

    async def stop(self) -> None:
        """End the phase soon, after a checkpoint."""
        self._session.stop()

    async def shutdown(self) -> None:
        """End all workers and their processes."""
        await self._session.shutdown()


REMOTE_COORDINATOR = ray.remote(num_cpus=0, max_restarts=0)(Coordinator)
