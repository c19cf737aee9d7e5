"""How far the running phase is, and how it is stopped."""

import asyncio
from collections.abc import Mapping
from typing import Any

from actors.run.status import Progress


class PhaseControl:
    """Progress and stop of one phase after the other. A stop ends a phase by `asyncio.CancelledError`."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.is_stopping = False
        self._task: asyncio.Task[Any] | None = None
        self._saves = False

    def begin(self, title: str, total: int = 0, saves: bool = False) -> None:
        """The phase that calls this enters its next part.

        Args:
            title: of the part, for people.
            total: steps or questions in it; 0: not known.
            saves: a stop does not cancel this part, which ends by itself when `is_stopping`, after a checkpoint.

        Raises:
            asyncio.CancelledError: the run is stopping, and this part has nothing to save.
        """
        if not saves:
            self.raise_if_stopping()
        self.progress = Progress(phase=title, total=total)
        self._task, self._saves = asyncio.current_task(), saves

    def advance(self, done: int, metrics: Mapping[str, object], total: int | None = None) -> None:
        """Note how far the part is, with the latest step's metrics."""
        self.progress.done = done
        self.progress.metrics = dict(metrics)
        if total is not None:
            self.progress.total = total

    def count(self, done: int, total: int) -> None:
        """Note how many of the part's questions are answered."""
        self.advance(done, {}, total)

    def stop(self) -> None:
        """End soon: a part that saves after its checkpoint, any other (loading, questions) at once."""
        self.is_stopping = True
        if self._task is not None and not self._saves:
            self._task.cancel()

    def raise_if_stopping(self) -> None:
        """
        Raises:
            asyncio.CancelledError: the run is stopping.
        """
        if self.is_stopping:
            raise asyncio.CancelledError
