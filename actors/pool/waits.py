"""Who waits for whom right now: `sr-real status` shows it, and a watchdog reports waits that last too long."""

import asyncio
import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wait:
    """One wait, or several of the same loop for the same thing."""

    loop: str
    """Which loop: "feed", "roll out", "score", "learn" or "publish"."""
    whom: str
    """Who is waited for, and for what."""
    for_s: float
    """How long the longest of them has lasted."""
    number: int = 1

    def __str__(self) -> str:
        times = f"{self.number} × " if self.number > 1 else ""
        return f"{self.loop} has waited {self.for_s:.0f} s for {times}{self.whom}"


class Waits:
    """All open waits."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._open: dict[int, tuple[str, Callable[[], str], float]] = {}
        self._numbers = itertools.count()

    @contextmanager
    def on(self, loop: str, whom: str | Callable[[], str]) -> Iterator[None]:
        """While the block runs, `loop` waits for `whom`; a function is called each time that waits are shown."""
        number = next(self._numbers)
        self._open[number] = (loop, whom if callable(whom) else lambda: whom, self._now())
        try:
            yield
        finally:
            del self._open[number]

    def current(self) -> list[Wait]:
        """Open waits, the longest first; equal ones are joined."""
        since: dict[tuple[str, str], list[float]] = defaultdict(list)
        for loop, whom, since_s in self._open.values():
            since[loop, whom()].append(since_s)
        waits = [Wait(loop, whom, self._now() - min(starts), len(starts)) for (loop, whom), starts in since.items()]
        return sorted(waits, key=lambda wait: -wait.for_s)

    async def watch(self, patience_s: float, workers: Callable[[], object], report: Callable[[str], None]) -> None:
        """Forever: report each wait that has lasted longer than `patience_s`, with the states of all workers.

        A wait is reported when it passes that bound, and again each time it has lasted twice as long.
        """
        reported_s: dict[tuple[str, str], float] = {}
        while True:
            await asyncio.sleep(patience_s / 4)
            waits = self.current()
            reported_s = {key: last_s for key, last_s in reported_s.items() if key in {(w.loop, w.whom) for w in waits}}
            for wait in waits:
                if wait.for_s >= 2 * reported_s.get((wait.loop, wait.whom), patience_s / 2):
                    reported_s[wait.loop, wait.whom] = wait.for_s
                    message = f"{wait}; workers: {workers()}"
                    _log.warning("%s", message)
                    report(message)
