"""The rollout pool: as many workers as wanted, at any time; requests go to those that hold the published weights.

One task a member brings it up, probes it, and replaces it when it fails. No Ray in here: workers come from a function.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

from actors.pool.member import Member, MemberStatus, State
from actors.pool.requests import Requests
from actors.pool.waits import Waits
from actors.pool.worker import CannotStartError, EnginePort, Worker, WorkerDiedError, WorkerError
from flow.score import Failure
from flow.trajectory import RolloutRequest, Trajectory
from rollout.config import HealthConfig
from rollout.errors import WorkersFailedError

T = TypeVar("T")

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
        max_attempts: how often a request is tried before its failure is final.
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
        self._spawn = spawn
        self._health = health
        self._waits = waits or Waits()
        self._report = report
        self._members: dict[int, Member] = {}
        self._requests = Requests(num_seats, max_attempts, self._waits, self.distrust, self._notify)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._pulse = asyncio.Event()
        self._served_version: int | None = None
        self._cannot_start = False
        """An engine could not be loaded, for a reason that it told."""

    # -- size --------------------------------------------------------------------------------------------------------

    async def start(self, size: int) -> None:
        """Bring up `size` workers and wait until one is loaded, and all that have found room in the cluster.

        Those that wait for room, or for another try, join later; that is reported.

        Raises:
            PoolStartError: an engine cannot start, or none came up; all are ended.
        """
        self.scale(size)
        await self.wait_until(lambda: self._has_failed() or self._is_under_way())
        members = self._staying()
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
        members = self._staying()
        return bool(members) and (self._cannot_start or all(member.failures for member in members))

    def _is_under_way(self) -> bool:
        members = self._staying()
        is_loading = any(member.state is State.STARTING and member.is_placed for member in members)
        return not members or (not is_loading and any(member.is_loaded for member in members))

    def _staying(self) -> list[Member]:
        return [member for member in self._members.values() if member.state is not State.RETIRING]

    def scale(self, size: int) -> None:
        """Grow or shrink to `size` workers; returns at once. Members in quarantine get another chance.

        Those that leave finish what they were asked for, within `health.drain_s`; what is left is asked of others.
        """
        staying = {number: member for number, member in self._members.items() if member.state is not State.RETIRING}
        by_leaving = sorted(
            staying, key=lambda number: (_LEAVING_ORDER.index(staying[number].state), staying[number].load, -number)
        )
        for number in by_leaving[: max(0, len(staying) - size)]:
            self._retire(number)
        for member in self._members.values():
            member.is_quarantined = False
            member.alarm.set()
        for _ in range(size - len(staying)):
            # The lowest free number: names stay short, and a place's share of the cores is given to its next owner.
            number = next(number for number in range(len(self._members) + 1) if number not in self._members)
            self._members[number] = Member(f"rollout-{number}")
            self._tasks[number] = asyncio.create_task(self._live(number), name=f"rollout-{number}")
        self._notify()

    def drain(self, name: str) -> None:
        """Let one member go: it finishes what it was asked for, and the pool is smaller by one.

        Raises:
            KeyError: there is no such member.
        """
        self._retire(self._number_of(name))
        self._notify()

    def restart(self, name: str) -> None:
        """End a member's worker now and start another in its place; what it was asked for is asked of others.

        Raises:
            KeyError: there is no such member.
        """
        member = self._members[self._number_of(name)]
        member.is_quarantined = False
        member.shall_restart = member.worker is not None
        member.alarm.set()

    def _number_of(self, name: str) -> int:
        staying = {m.name: number for number, m in self._members.items() if m.state is not State.RETIRING}
        if name not in staying:
            raise KeyError(f"{name}: the pool has {', '.join(staying) or 'no workers'}")
        return staying[name]

    @property
    def size(self) -> int:
        """Members that are here to stay, whatever their state."""
        return len(self._staying())

    def status(self) -> list[MemberStatus]:
        return [MemberStatus.of(member) for member in self._members.values()]

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Until `condition`, which is asked again whenever a member changes."""
        while not condition():
            await self._pulse.wait()

    async def shutdown(self) -> None:
        """End every engine and its processes."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- requests ----------------------------------------------------------------------------------------------------

    async def generate(self, requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        """Responses in the order of `requests`; see `Requests`."""
        return await self._requests.generate(requests)

    @property
    def num_reissued(self) -> int:
        """Responses that were asked for again because their worker left before it had given them."""
        return self._requests.num_reissued

    # -- weights -----------------------------------------------------------------------------------------------------

    @property
    def loaded(self) -> list[Member]:
        """Those whose engine can be given weights."""
        return [member for member in self._members.values() if member.is_loaded]

    @property
    def is_settled(self) -> bool:
        """Whether no member's health is in doubt."""
        return all(member.state is not State.SUSPECT for member in self._members.values())

    @contextmanager
    def receiving(self, members: Sequence[Member]) -> Iterator[None]:
        """They take part in a push while the block runs; none that shall leave does so before."""
        for member in members:
            member.is_receiving = True
        try:
            yield
        finally:
            for member in members:
                member.is_receiving = False
            self._notify()

    async def call(
        self, members: Iterable[Member], step: str, ask: Callable[[EnginePort], Awaitable[T]]
    ) -> dict[str, T]:
        """The same step of a weight push on each member's engine; answers by name.

        Args:
            step: what errors call it.
            ask: asks one engine.

        Raises:
            WorkersFailedError: names those that failed, and why.
        """
        asked = [(member.name, member.worker) for member in members if member.worker is not None]
        answers = await asyncio.gather(*(ask(worker) for _, worker in asked), return_exceptions=True)
        causes = {
            name: str(answer)
            for (name, _), answer in zip(asked, answers, strict=True)
            if isinstance(answer, WorkerError)
        }
        if causes:
            raise WorkersFailedError(step, causes)
        by_name: dict[str, T] = {}
        for (name, _), answer in zip(asked, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            by_name[name] = answer
        return by_name

    def serve(self, members: Iterable[Member], version: int) -> None:
        """They hold `version`, which is the published one."""
        self._served_version = version
        for member in members:
            member.version = version
            if member.state is State.STALE:
                self._move(member, State.SERVING)

    async def serve_as_loaded(self) -> None:
        """For ever: whoever is loaded serves with the weights that it was loaded with. For runs without a learner."""
        while True:
            await self.wait_until(lambda: any(member.state is State.STALE for member in self.loaded))
            self.serve(self.loaded, 0)

    def distrust(self, identity: tuple[str, int], reason: str, holds_weights: bool = True) -> None:
        """Take a worker out of service until a probe has found it well; nothing happens if it was replaced already.

        Args:
            identity: the worker.
            reason: in words.
            holds_weights: whether it still has the weights that it served with; if not, it is synced again.
        """
        for member in self._members.values():
            if member.identity == identity and member.is_loaded:
                if not holds_weights:
                    member.version = None
                self._move(member, State.SUSPECT, reason)
                member.alarm.set()

    # -- the life of a member ----------------------------------------------------------------------------------------

    async def _live(self, number: int) -> None:
        member = self._members[number]
        try:
            while member.state is not State.RETIRING:
                try:
                    await self._look_after(member, number)
                except WorkerError as error:
                    cannot_start = isinstance(error, CannotStartError)
                    self._cannot_start |= cannot_start
                    is_hopeless = cannot_start and member.failures[-1:] == [str(error)]
                    await self._bury(member, str(error), "cannot start" if cannot_start else "is lost")
                    await self._wait_to_restart(member, is_hopeless)
            await self._drain(member)
        finally:
            if member.worker is not None:
                with suppress(WorkerError):
                    await member.worker.stop()
                await member.worker.kill()
            del self._members[number], self._tasks[number]
            self._notify()

    async def _look_after(self, member: Member, number: int) -> None:
        """Start it, and probe it until it leaves.

        Raises:
            WorkerError: it did not start, died, or failed two probes in a row.
        """
        member.worker = self._spawn(member.name, number)
        member.reason = "waits for room in the cluster"
        await member.worker.place()
        member.is_placed, member.reason = True, "loads its engine"
        self._notify()
        await member.worker.start()
        self._move(member, State.STALE, "loaded, without the published weights")
        while True:
            await self._alarm(member, self._health.probe_every_s)
            if member.state is State.RETIRING:
                return
            if member.shall_restart:
                raise WorkerError("a person asked for another in its place")
            was_suspect = member.state is State.SUSPECT
            try:
                member.note_vitals(await member.worker.probe())
            except WorkerDiedError:
                raise
            except WorkerError as error:
                if was_suspect:
                    raise
                if member.is_loaded:
                    self.distrust(member.identity, str(error))
            else:
                if was_suspect and member.state is State.SUSPECT:
                    is_current = member.version is not None and member.version == self._served_version
                    state = State.SERVING if is_current else State.STALE
                    self._move(member, state, f"answers again after: {member.reason}")
                elif member.state is State.SERVING:
                    member.failures.clear()

    async def _bury(self, member: Member, reason: str, what: str) -> None:
        self._report(f"{member.name} {what}: {reason}")
        member.failures.append(reason)
        if member.state is not State.RETIRING:
            self._move(member, State.DEAD, reason)
        if member.worker is not None:
            await member.worker.kill()
        member.forget_worker()

    async def _wait_to_restart(self, member: Member, is_hopeless: bool) -> None:
        """
        Args:
            is_hopeless: it failed to start twice in a row, for the same reason.
        """
        num_failures = len(member.failures)
        member.is_quarantined = is_hopeless or num_failures >= self._health.max_failures
        if member.is_quarantined:
            self._report(f"{member.name} is in quarantine after {num_failures} losses: {'; '.join(member.failures)}")
            self._notify()
            while member.is_quarantined:
                await self._alarm(member, None)
            member.failures.clear()
        else:
            pause_s = self._health.restart_pause_s * 2 ** (num_failures - 1)
            await self._alarm(member, min(pause_s, self._health.max_restart_pause_s))
        if member.state is State.DEAD:
            self._move(member, State.STARTING, f"again after: {member.reason}")

    def _retire(self, number: int) -> None:
        member = self._members[number]
        has_work = member.is_loaded
        self._move(member, State.RETIRING, "the pool shrinks")
        if has_work:
            member.alarm.set()
        else:
            # Whatever it waits for is of no use any more.
            self._tasks[number].cancel()

    async def _drain(self, member: Member) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._health.drain_s):
                await self.wait_until(lambda: member.load == 0 and not member.is_receiving)

    @staticmethod
    async def _alarm(member: Member, timeout_s: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await member.alarm.wait()
        member.alarm.clear()

    def _move(self, member: Member, state: State, reason: str = "") -> None:
        member.move(state, reason)
        self._requests.update(member)
        self._notify()

    def _notify(self) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()
