"""The rollout pool: as many workers as wanted, at any time; requests go to those that hold the published weights.

`Roster` knows who is there, `Caretaker` looks after each member, `Requests` shares out what is asked. No Ray in here:
workers come from a function.
"""

import asyncio
from collections.abc import Callable, Sequence

from actors.cluster.card_meter import CardTrack
from actors.pool.caretaker import Caretaker
from actors.pool.member import MemberStatus, State
from actors.pool.requests import Requests
from actors.pool.roster import Roster
from actors.pool.waits import Waits
from actors.pool.worker import Worker, WorkerError
from flow.score import Failure
from flow.trajectory import RolloutRequest, Trajectory
from rollout.config import HealthConfig

# Who leaves first when the pool shrinks.
_LEAVING_ORDER = (State.DEAD, State.STARTING, State.SUSPECT, State.STALE, State.SERVING)


class PoolStartError(RuntimeError):
    """A worker that the run begins with did not come up; the message says why."""


class RolloutPool:
    """Rollout workers that come and go.

    Args:
        spawn: makes the worker of a place, given its name and the place's number; nothing needs to be started yet.
        health: probes, restarts, and how long a member that leaves may take to finish.
        num_seats: responses that an engine generates at once.
        max_attempts: how many times a request is tried before its failure is final.
        waits: where waits are entered.
        report: called with a message when a worker is lost or quarantined.
    """

    def __init__(
        self,
        spawn: Callable[[str, int], Worker],
        health: HealthConfig,
        num_seats: int,
        max_attempts: int,
        waits: Waits | None = None,
        report: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._report = report
        self.roster = Roster(on_move=lambda member: self._requests.update(member))
        self._requests = Requests(num_seats, max_attempts, waits or Waits(), self.roster.distrust, self.roster.notify)
        self._caretaker = Caretaker(self.roster, spawn, health, report)

    async def start(self, size: int) -> None:
        """Bring up `size` workers and wait until one is loaded, and all that have found room in the cluster.

        Those that wait for room, or for another try, join later; that is reported.

        Raises:
            PoolStartError: an engine cannot start, or none came up; all are ended.
        """
        self.scale(size)
        await self.roster.wait_until(lambda: self._has_failed() or self._is_under_way())
        members = self.roster.staying.values()
        if self._has_failed():
            reasons = "; ".join(f"{member.name}: {member.failures[-1]}" for member in members if member.failures)
            await self.shutdown()
            raise PoolStartError(reasons)
        if missing := [member for member in members if not member.is_loaded]:
            self._report(
                f"{len(members) - len(missing)} of {len(members)} rollout workers begin; others join when they can: "
                + "; ".join(f"{member.name} {member.state}: {member.reason}" for member in missing)
            )

    def _has_failed(self) -> bool:
        members = self.roster.staying.values()
        return bool(members) and (self._caretaker.has_met_a_broken_engine or all(member.failures for member in members))

    def _is_under_way(self) -> bool:
        members = self.roster.staying.values()
        is_loading = any(member.state is State.STARTING and member.is_placed for member in members)
        return not members or (not is_loading and any(member.is_loaded for member in members))

    async def shutdown(self) -> None:
        """End every engine and its processes."""
        await self._caretaker.shutdown()

    # -- size --------------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Number of members that are here to stay, whatever their state."""
        return len(self.roster.staying)

    def scale(self, size: int) -> None:
        """Grow or shrink to `size` workers; returns at once. Members in quarantine get another chance.

        Those that leave finish what they were asked for, within `health.drain_s`; others are asked for the rest.
        """
        staying = self.roster.staying
        by_leaving = sorted(
            staying, key=lambda place: (_LEAVING_ORDER.index(staying[place].state), staying[place].load, -place)
        )
        for place in by_leaving[: max(0, len(staying) - size)]:
            self._caretaker.retire(place)
        for member in self.roster.members:
            member.is_quarantined = False
            member.alarm.set()
        for _ in range(size - len(staying)):
            self._caretaker.add()
        self.roster.notify()

    def drain(self, name: str) -> None:
        """Let one member go: it finishes what it was asked for, and the pool is smaller by one.

        Raises:
            KeyError: there is no such member.
        """
        self._caretaker.retire(self.roster.place_of(name))
        self.roster.notify()

    def restart(self, name: str) -> None:
        """End a member's worker now and start another in its place; others are asked for what it had not finished.

        Raises:
            KeyError: there is no such member.
        """
        member = self.roster[self.roster.place_of(name)]
        member.is_quarantined = False
        member.replace_because = "a person asked for another in its place" if member.worker is not None else None
        member.alarm.set()

    def status(self) -> list[MemberStatus]:
        return [MemberStatus.of(member) for member in self.roster.members]

    async def card_tracks(self) -> list[CardTrack]:
        """What the cards of its loaded workers did since the last call; a worker that does not tell is left out."""
        asked = [member.worker.card_tracks() for member in self.roster.loaded if member.worker is not None]
        told = await asyncio.gather(*asked, return_exceptions=True)
        for error in told:
            if isinstance(error, BaseException) and not isinstance(error, WorkerError):
                raise error
        return [track for tracks in told if not isinstance(tracks, BaseException) for track in tracks]

    # -- requests ----------------------------------------------------------------------------------------------------

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        """Responses in the order of `requests`; see `Requests`."""
        return await self._requests.generate(requests)

    @property
    def num_responses_reissued(self) -> int:
        """Responses that were asked for again because their worker left before it had given them."""
        return self._requests.num_responses_reissued
