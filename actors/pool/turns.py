"""Whose turn it is on cards that learner and engines share.

    engines generate ──▶ the last answer is given ──▶ engines sleep ──▶ the learner works ──▶ a push wakes the engines

An engine that loads takes its memory first, so one that is started in the learner's turn waits for the end of it.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from actors.pool.member import Member, State
from actors.pool.roster import Roster
from actors.pool.waits import Waits
from actors.pool.worker import WorkerError


class Turns(Protocol):
    async def begin_learning(self) -> Mapping[str, float]:
        """The cards are the learner's from now on, until its next push; returns metrics."""


class AllAtOnce:
    """Nobody waits: learner and engines have memory of their own."""

    async def begin_learning(self) -> Mapping[str, float]:
        return {}


class TakingTurns:
    """Engines sleep while the learner works. `WeightPublisher.publish` is the other half: it ends the learner's turn.

    Args:
        waits: where the wait for engines is entered.
    """

    def __init__(self, roster: Roster, waits: Waits) -> None:
        self._roster = roster
        self._waits = waits

    async def begin_learning(self) -> Mapping[str, float]:
        """Until no engine has memory on the cards. Each finishes what it was asked for; one that does not fall asleep
        is replaced, since the learner could not have its memory."""
        started_s = time.perf_counter()
        self._roster.is_learners_turn = True
        gained_gib: list[float] = []
        with self._waits.on("learn", self._describe_awake):
            while self._awake():
                await self._roster.wait_until(lambda: not self._awake() or bool(self._idle()))
                gained_gib += await self._put_to_sleep(self._idle())
        gained = {"memory/engine_gave_gib": min(gained_gib)} if gained_gib else {}
        return {"time/sleep_s": time.perf_counter() - started_s, **gained}

    def _awake(self) -> list[Member]:
        return [member for member in self._roster.members if member.is_on_cards]

    def _idle(self) -> list[Member]:
        return [member for member in self._awake() if member.is_loaded and not member.load]

    def _describe_awake(self) -> str:
        return f"{', '.join(member.name for member in self._awake())}: to finish, and to fall asleep"

    async def _put_to_sleep(self, members: Sequence[Member]) -> list[float]:
        """Returns the GiB that each has given back; one that failed is condemned."""
        asked = [(member, member.identity, member.worker) for member in members if member.worker is not None]
        for member in members:
            # Out of service first, so that nobody asks it for a response meanwhile.
            if member.state is State.SERVING:
                self._roster.move(member, State.STALE)
            member.version, member.reason = None, "asleep while the learner works"
        answers = await asyncio.gather(*(worker.sleep() for _, _, worker in asked), return_exceptions=True)
        gained_gib = []
        for (member, identity, _), answer in zip(asked, answers, strict=True):
            if isinstance(answer, WorkerError):
                self._roster.condemn(identity, f"does not fall asleep: {answer}")
            elif isinstance(answer, BaseException):
                raise answer
            elif member.identity == identity:
                member.is_on_cards = False
                gained_gib.append(answer)
        self._roster.notify()
        return gained_gib
