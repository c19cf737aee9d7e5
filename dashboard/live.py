"""A run that is under way, as the page sees and steers it."""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from actors.errors import CoordinatorError
from actors.run.status import RunStatus

_log = logging.getLogger(__name__)
# Several viewers, and several parts of a page, look at the same moment.
_FRESH_S = 1.0


class Live(Protocol):
    """What a run under way can be asked.

    Raises (every call):
        CoordinatorError: it does not answer, or refuses.
    """

    def status(self) -> RunStatus: ...

    def scale(self, num_rollouts: int) -> object: ...

    def drain(self, worker: str) -> None: ...

    def restart(self, worker: str) -> None: ...


@dataclass
class Watched:
    """A run under way: its latest status, not asked for more often than once a second, and what people did to it."""

    live: Live
    actions: deque[str] = field(default_factory=lambda: deque(maxlen=50))
    """What was asked for from the page, and what came of it, the newest first."""
    _latest: RunStatus | None = None
    _asked_s: float = float("-inf")
    _problem: str = ""

    def status(self) -> RunStatus | None:
        """The latest status; None while the run does not answer."""
        if time.monotonic() - self._asked_s > _FRESH_S:
            self._asked_s = time.monotonic()
            try:
                self._latest, self._problem = self.live.status(), ""
            except CoordinatorError as error:
                self._latest, self._problem = None, str(error)
        return self._latest

    @property
    def problem(self) -> str:
        """Why there is no status."""
        return self._problem

    def act(self, what: str, action: Callable[[], None]) -> str:
        """Do it and note it; returns what came of it in words."""
        try:
            action()
            outcome = f"{what}: done"
        except CoordinatorError as error:
            outcome = f"{what}: refused, {error}"
        self.actions.appendleft(f"{datetime.now():%H:%M:%S} {outcome}")
        _log.info("asked from the page: %s", outcome)
        self._asked_s = float("-inf")
        return outcome
