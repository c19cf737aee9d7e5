"""Who waits for whom, right now: what `sr-real status` shows, and what the watchdog says of a wait that lasts."""

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
    """One or several waits of the same loop for the same thing."""

    loop: str
    """"feed", "roll out", "score", "learn" or "publish"."""
    whom: str
    """Whom it waits for, and for what."""
    for_s: float
    """Since when the longest of them has lasted."""
    number: int = 1

    def __str__(self) -> str:
        times = f"{self.number} × " if self.number > 1 else ""
        return f"{self.loop} has waited {self.for_s:.0f} s for {times}{self.whom}"


class Waits:
    """The book of open waits."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._open: dict[int, tuple[str, Callable[[], str], float]] = {}
        self._numbers = itertools.count()

    @contextmanager
    def on(self, loop: str, whom: str | Callable[[], str]) -> Iterator[None]:
        """While the block runs, `loop` waits for `whom`; a function is asked whenever somebody wants to know."""
        number = next(self._numbers)
        self._open[number] = (loop, whom if callable(whom) else lambda: whom, self._now())
        try:
            yield
        finally:
            del self._open[number]

    def current(self) -> list[Wait]:
        """The longest first; equal ones as one."""
        since: dict[tuple[str, str], list[float]] = defaultdict(list)
        for loop, whom, since_s in self._open.values():
            since[loop, whom()].append(since_s)
        waits = [Wait(loop, whom, self._now() - min(starts), len(starts)) for (loop, whom), starts in since.items()]
        return sorted(waits, key=lambda wait: -wait.for_s)

    async def watch(self, patience_s: float, workers: Callable[[], object], report: Callable[[str], None]) -> None:
        """For ever: report a wait that has lasted longer than `patience_s`, with the states of all workers.

        Each wait is reported when it passes the bound, and again whenever it has lasted twice as long.
        """
        told_s: dict[tuple[str, str], float] = {}
        while True:
            await asyncio.sleep(patience_s / 4)
            waits = self.current()
            told_s = {key: told for key, told in told_s.items() if key in {(w.loop, w.whom) for w in waits}}
            for wait in waits:
                if wait.for_s >= 2 * told_s.get((wait.loop, wait.whom), patience_s / 2):
                    told_s[wait.loop, wait.whom] = wait.for_s
                    message = f"{wait}; workers: {workers()}"
                    _log.warning("%s", message)
                    report(message)
