"""The coordinator: one Ray actor that runs a run's phases. Whoever watches or steers a run calls it by its client."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from actors.cluster.cards import hide_cards
from actors.config import SessionConfig
from actors.phases.phase import Phase
from actors.phases.session import Session
from actors.pool.member import MemberStatus
from actors.pool.scaling import Steer
from actors.run.run_folder import RunFolder
from actors.run.status import RunStatus

R = TypeVar("R")


class Coordinator:
    """Runs one phase at a time; the other calls are answered while it runs."""

    def __init__(
        self, config: SessionConfig, root: Path, resolved: Mapping[str, object], hides_cards: bool = False
    ) -> None:
        """
        Args:
            hides_cards: whether this process is to see no GPU. As an actor it hides them itself: what its runtime
                environment hid would be hidden from all actors that it starts, too.
        """
        if hides_cards:
            hide_cards()
        self._session = Session(config, RunFolder(root), resolved)

    async def run(self, phase: Phase[R]) -> R | None:
        """The phase's result; None if it was stopped. Waits that last too long become warnings meanwhile."""
        watching = asyncio.create_task(self._session.watch())
        try:
            return await phase.run(self._session)
        except asyncio.CancelledError:
            if not self._session.control.is_stopping:
                raise
            return None
        finally:
            watching.cancel()

    async def status(self) -> RunStatus:
        return self._session.status()

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

    async def stop(self, at_once: bool = False) -> None:
        """End the phase soon, after a checkpoint; `at_once`: end all workers and their processes instead, and return
        when they have ended."""
        if at_once:
            await self._session.end_rollouts()
        else:
            self._session.stop()
