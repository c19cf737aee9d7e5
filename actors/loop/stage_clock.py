"""How long generation and scoring take, while many groups are in different stages at once."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STAGES = ("rollout", "score")
"""By priority: a second in which one group is generated and another is scored counts as generation."""

# A shorter pause does not split a stretch of time in two; and a step has at most this many stretches.
_SAME_S = 0.02
_MAX_STRETCHES = 200


class StageClock:
    """Seconds of wall time in which a stage was busy; every second counts once."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._active: Counter[str] = Counter()
        self._spent_s: dict[str, float] = defaultdict(float)
        self._stretches: list[tuple[str, float, float]] = []
        self._since_s = now()

    def _account(self) -> None:
        now_s = self._now()
        busy = next((stage for stage in STAGES if self._active[stage]), None)
        if busy is not None:
            self._spent_s[busy] += now_s - self._since_s
            self._note(busy, now_s)
        self._since_s = now_s

    def _note(self, stage: str, now_s: float) -> None:
        """Extend the stage's latest stretch, or begin one."""
        if self._stretches and self._stretches[-1][0] == stage and self._since_s - self._stretches[-1][2] < _SAME_S:
            self._stretches[-1] = (stage, self._stretches[-1][1], now_s)
        elif len(self._stretches) < _MAX_STRETCHES:
            self._stretches.append((stage, self._since_s, now_s))

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

    def take_stretches(self) -> list[tuple[str, float, float]]:
        """Stretches in which a stage was busy since the last call: stage, begin and end on this clock. Short pauses are
        left out, and so are stretches beyond a large number."""
        self._account()
        stretches, self._stretches = self._stretches, []
        return stretches
