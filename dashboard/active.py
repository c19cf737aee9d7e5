"""A run that is under way: how the page reads its status and controls it."""

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
# Several viewers, and several parts of one page, ask at the same moment.
_FRESH_S = 1.0


class RunControls(Protocol):
    """What one can request of a run under way.

    Raises (every call):
        CoordinatorError: the run does not answer, or refuses.
    """

    def status(self) -> RunStatus: ...

    def scale(self, num_rollouts: int) -> object: ...

    def drain(self, worker: str) -> None: ...

    def restart(self, worker: str) -> None: ...


@dataclass
class ActiveRun:
    """A run under way: its latest status (fetched at most once a second) and the log of what people requested."""

    controls: RunControls
    actions: deque[str] = field(default_factory=lambda: deque(maxlen=50))
    """What was requested from the page, with the outcome, newest first."""
    _latest: RunStatus | None = None
    _asked_s: float = float("-inf")
    _problem: str = ""

    def status(self) -> RunStatus | None:
        """The latest status; None while the run does not answer."""
        if time.monotonic() - self._asked_s > _FRESH_S:
            self._asked_s = time.monotonic()
            try:
                self._latest, self._problem = self.controls.status(), ""
            except CoordinatorError as error:
                self._latest, self._problem = None, str(error)
        return self._latest

    @property
    def problem(self) -> str:
        """Why there is no status."""
        return self._problem

    def act(self, what: str, action: Callable[[], None]) -> str:
        """Do it, log it, and return the outcome as text."""
        try:
            action()
            outcome = f"{what}: done"
        except CoordinatorError as error:
            outcome = f"{what}: refused, {error}"
        self.actions.appendleft(f"{datetime.now():%H:%M:%S} {outcome}")
        _log.info("requested from the page: %s", outcome)
        self._asked_s = float("-inf")
        return outcome
