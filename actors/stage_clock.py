"""Where a step's wall time goes, when many groups are in different stages at once."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STAGES = ("rollout", "score")
"""By priority: a second in which one group is generated and another scored counts as generation."""


class StageClock:
    """Seconds of wall time in which a stage was busy; every second is counted once."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._active: Counter[str] = Counter()
        self._spent_s: dict[str, float] = defaultdict(float)
        self._since_s = now()

    def _account(self) -> None:
        now_s = self._now()
        busy = next((stage for stage in STAGES if self._active[stage]), None)
        if busy is not None:
            self._spent_s[busy] += now_s - self._since_s
        self._since_s = now_s

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._account()
        self._active[name] += 1
        try:
            yield
        finally:
            self._account()
            self._active[name] -= 1

    def take(self) -> dict[str, float]:
        """Seconds per stage since the last call."""
        self._account()
        spent_s, self._spent_s = dict(self._spent_s), defaultdict(float)
        return {stage: spent_s.get(stage, 0.0) for stage in STAGES}
