"""Who is in the pool: its members, their states, and the version of the weights that is served."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from actors.pool.member import Member, State


class Roster:
    """The pool's members by place. Every change of a member's state is made here, and wakes those that wait for one.

    Args:
        on_move: called with a member whose state has changed.
    """

    def __init__(self, on_move: Callable[[Member], None]) -> None:
        self._on_move = on_move
        self._members: dict[int, Member] = {}
        self._pulse = asyncio.Event()
        self._served_version: int | None = None
        self.is_learners_turn = False
        """The cards are the learner's for now: engines sleep, and none loads."""

    # -- who is there ------------------------------------------------------------------------------------------------

    def __getitem__(self, place: int) -> Member:
        return self._members[place]

    @property
    def members(self) -> list[Member]:
        return list(self._members.values())

    @property
    def staying(self) -> dict[int, Member]:
        """Members that are not about to leave, by place."""
        return {place: member for place, member in self._members.items() if member.state is not State.RETIRING}

    @property
    def loaded(self) -> list[Member]:
        """Members whose engine can be given weights."""
        return [member for member in self._members.values() if member.is_loaded]

    @property
    def is_settled(self) -> bool:
        """Whether no member's health is in doubt."""
        return all(member.state is not State.SUSPECT for member in self._members.values())

    def place_of(self, name: str) -> int:
        """
        Raises:
            KeyError: no such member stays.
        """
        staying = {member.name: place for place, member in self.staying.items()}
        if name not in staying:
            raise KeyError(f"{name}: the pool has {', '.join(staying) or 'no workers'}")
        return staying[name]

    def add(self) -> int:
        """Open a place; returns its number.

        The lowest that is free: names stay short, and a place's share of the cores is given to its next owner.
        """
        place = next(place for place in range(len(self._members) + 1) if place not in self._members)
        self._members[place] = Member(f"rollout-{place}")
        return place

    def remove(self, place: int) -> None:
        """Close a place."""
        del self._members[place]
        self.notify()

    # -- what becomes of them ----------------------------------------------------------------------------------------

    def move(self, member: Member, state: State, reason: str = "") -> None:
        """
        Raises:
            ValueError: a member cannot go there from its state.
        """
        member.move(state, reason)
        self._on_move(member)
        self.notify()

    def notify(self) -> None:
        """Wake those that wait: something about a member has changed."""
        self._pulse.set()
        self._pulse = asyncio.Event()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Until `condition`, which is evaluated again whenever a member changes."""
        while not condition():
            await self._pulse.wait()

    def distrust(self, identity: tuple[str, int], reason: str, holds_weights: bool = True) -> None:
        """Take a worker out of service until a probe has found it well; nothing happens if it was replaced already.

        Args:
            identity: the worker.
            reason: shown to people.
            holds_weights: whether it still has the weights that it served with; if not, it is synced again.
        """
        for member in self._members.values():
            if member.identity == identity and member.is_loaded:
                if not holds_weights:
                    member.version = None
                self.move(member, State.SUSPECT, reason)
                member.alarm.set()

    def condemn(self, identity: tuple[str, int], reason: str) -> None:
        """Have another worker put in the place of this one, which may be in any condition."""
        for member in self._members.values():
            if member.identity == identity and member.worker is not None:
                member.replace_because = reason
                if member.is_loaded:
                    self.move(member, State.SUSPECT, reason)
                member.alarm.set()

    def trust_again(self, member: Member) -> None:
        """A suspect was found well: it serves, if it has the weights that are served, or is synced first."""
        is_current = member.version is not None and member.version == self._served_version
        self.move(member, State.SERVING if is_current else State.STALE, f"answers again after: {member.reason}")

    # -- weights -----------------------------------------------------------------------------------------------------

    @contextmanager
    def receiving(self, members: Sequence[Member]) -> Iterator[None]:
        """They take part in a push while the block runs; none of them leaves before its end."""
        for member in members:
            member.is_receiving = True
        try:
            yield
        finally:
            for member in members:
                member.is_receiving = False
            self.notify()

    def serve(self, members: Iterable[Member], version: int) -> None:
        """They hold `version`, which is the published one."""
        self._served_version = version
        for member in members:
            member.version = version
            if member.state is State.STALE:
                self.move(member, State.SERVING)

    async def serve_as_loaded(self) -> None:
        """Forever: loaded members serve with the weights that they were loaded with. For runs without a learner."""
        while True:
            await self.wait_until(lambda: any(member.state is State.STALE for member in self.loaded))
            self.serve(self.loaded, 0)
