"""One place in the rollout pool, and the states that it goes through. No Ray: a plain state machine.

    starting ──▶ stale ──▶ serving ──▶ retiring ──▶ (gone)
        │          ▲ │        │
        │          │ ▼        ▼
        │        suspect ◀────┘       probed at once: serving again, stale if its weights are in doubt, or dead
        ▼          │
       dead ◀──────┘                  started again after a pause, or quarantined

A stale member is loaded and answers, but does not hold the published weights: it does not serve before it was synced.
"""

import asyncio
import time
from dataclasses import dataclass, field
from enum import StrEnum

from actors.pool.worker import Worker
from rollout.vitals import Vitals


class State(StrEnum):
    """What a member is doing; see the picture above."""

    STARTING = "starting"
    STALE = "stale"
    SERVING = "serving"
    SUSPECT = "suspect"
    DEAD = "dead"
    RETIRING = "retiring"


_NEXT = {
    State.STARTING: {State.STALE, State.DEAD, State.RETIRING},
    State.STALE: {State.SERVING, State.SUSPECT, State.DEAD, State.RETIRING},
    State.SERVING: {State.STALE, State.SUSPECT, State.DEAD, State.RETIRING},
    State.SUSPECT: {State.STALE, State.SERVING, State.DEAD, State.RETIRING},
    State.DEAD: {State.STARTING, State.RETIRING},
    State.RETIRING: set(),
}
_COLOURS = {
    State.STARTING: "cyan",
    State.STALE: "yellow",
    State.SERVING: "green",
    State.SUSPECT: "yellow",
    State.DEAD: "red",
    State.RETIRING: "violet",
}
"""Colours of the states: names that the terminal and the page both know."""


@dataclass
class Pace:
    """How fast a worker is, from its probes and its groups."""

    vitals: Vitals | None = None
    """As of the latest probe."""
    tokens_per_s: float | None = None
    """Between the latest two probes."""
    group_s: float | None = None
    """How long a group's responses take, the latest groups counting most."""
    probed_s: float = 0.0
    """When the latest probe was answered, on the monotonic clock."""

    def note_probe(self, vitals: Vitals | None) -> None:
        """A probe was answered with `vitals`."""
        now_s = time.monotonic()
        if vitals is not None and self.vitals is not None:
            self.tokens_per_s = (vitals.num_tokens - self.vitals.num_tokens) / (now_s - self.probed_s)
        self.vitals, self.probed_s = vitals, now_s

    def note_group(self, seconds: float) -> None:
        """A group's responses took `seconds`."""
        self.group_s = seconds if self.group_s is None else 0.8 * self.group_s + 0.2 * seconds


@dataclass(eq=False)  # Names are reused, so members compare by identity.
class Member:
    """A place in the pool: its present worker, and what became of those before.

    It has more than a dozen fields because it is the pool's one record of a place; each part of the pool reads a few.
    """

    name: str
    state: State = State.STARTING
    reason: str = ""
    """Why it is in this state, for people."""
    since_s: float = field(default_factory=time.monotonic)
    """When it came into this state, on the monotonic clock."""
    worker: Worker | None = None
    is_placed: bool = False
    """Its worker has found room in the cluster."""
    incarnation: int = 0
    """How many workers have had this place before."""
    version: int | None = None
    """The weights that its engine holds; None if that is not known."""
    load: int = 0
    """Responses that it was asked for and has not given."""
    is_receiving: bool = False
    """It takes part in a weight push, and must not leave before the end: the others would lose the push with it."""
    failures: list[str] = field(default_factory=list)
    """Reasons of its failures since it last answered a probe while serving."""
    replace_because: str | None = None
    """Why it must have another worker, though this one may still answer."""
    is_on_cards: bool = False
    """Its engine is loaded, or loads, and is not asleep: its cards' memory is its own."""
    is_quarantined: bool = False
    """It failed too many times in a row, and is not started again before `scale` is called."""
    pace: Pace = field(default_factory=Pace)
    alarm: asyncio.Event = field(default_factory=asyncio.Event)
    """Wakes the task that looks after it: something was reported, or it is to retire or to try again."""

    def move(self, state: State, reason: str = "") -> None:
        """
        Raises:
            ValueError: the picture above has no such arrow.
        """
        if state not in _NEXT[self.state]:
            raise ValueError(f"{self.name} cannot go from {self.state} to {state}")
        self.state, self.reason, self.since_s = state, reason, time.monotonic()

    def forget_worker(self) -> None:
        """Its worker is gone; nothing is known of the next one."""
        self.worker, self.version, self.load, self.pace = None, None, 0, Pace()
        self.replace_because = None
        self.is_placed = self.is_on_cards = False
        self.incarnation += 1

    @property
    def is_loaded(self) -> bool:
        """Whether its engine can be given weights."""
        return self.state in (State.STALE, State.SERVING)

    @property
    def identity(self) -> tuple[str, int]:
        """This very worker, and not the next one in the same place."""
        return self.name, self.incarnation


@dataclass(frozen=True)
class MemberStatus:
    """A member as people see it: a row of `sr-real status` and of the page, one field for each column."""

    name: str
    state: str
    reason: str
    for_s: float
    """How long it has been in this state."""
    version: int | None
    load: int
    incarnation: int
    is_quarantined: bool
    tokens_per_s: float | None = None
    group_s: float | None = None
    """Seconds that a group's responses take."""
    cache_share: float | None = None
    """Share of its memory for keys and values that is in use."""
    memory_gib: float | None = None
    num_waiting: int | None = None
    """Responses that its engine has not begun."""
    is_asleep: bool = False
    """Its cards are the learner's for now."""

    @classmethod
    def of(cls, member: Member) -> "MemberStatus":
        vitals = member.pace.vitals
        return cls(
            name=member.name,
            state=member.state.value,
            reason=member.reason,
            for_s=time.monotonic() - member.since_s,
            version=member.version,
            load=member.load,
            incarnation=member.incarnation,
            is_quarantined=member.is_quarantined,
            tokens_per_s=member.pace.tokens_per_s,
            group_s=member.pace.group_s,
            cache_share=vitals.usage.cache_share if vitals else None,
            memory_gib=vitals.memory_gib if vitals else None,
            num_waiting=vitals.usage.num_waiting if vitals else None,
            is_asleep=member.is_loaded and not member.is_on_cards,
        )

    @property
    def label(self) -> str:
        """The state in one word."""
        return "quarantined" if self.is_quarantined else "asleep" if self.is_asleep else self.state

    @property
    def colour(self) -> str:
        """The colour in which the state is shown."""
        return "cyan" if self.is_asleep else _COLOURS[State(self.state)]

    def __str__(self) -> str:
        quarantine = ", quarantined" if self.is_quarantined else ""
        because = f": {self.reason}" if self.reason else ""
        return f"{self.name} {self.state}{quarantine} for {self.for_s:.0f} s{because}"
