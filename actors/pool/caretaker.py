"""The life of each member: one task brings it up, probes it, replaces its worker when it fails, and lets it go."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from actors.pool.member import Member, State
from actors.pool.roster import Roster
from actors.pool.worker import CannotStartError, Worker, WorkerDiedError, WorkerError
from rollout.config import HealthConfig


class Caretaker:
    """Looks after the members of a roster.

    Args:
        roster: where members are and change their states.
        spawn: makes the worker of a place, given its name and the place's number; nothing needs to be started yet.
        health: probes, restarts, and how long a member that leaves may take to finish.
        report: called with a message when a worker is lost or quarantined.
    """

    def __init__(
        self,
        roster: Roster,
        spawn: Callable[[str, int], Worker],
        health: HealthConfig,
        report: Callable[[str], None],
    ) -> None:
        self._roster = roster
        self._spawn = spawn
        self._health = health
        self._report = report
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.has_met_a_broken_engine = False
        """An engine could not be loaded, and said why."""

    def add(self) -> None:
        """Bring up one more member."""
        place = self._roster.add()
        self._tasks[place] = asyncio.create_task(self._live(place), name=f"rollout-{place}")

    def retire(self, place: int) -> None:
        """Let a member go: if it serves, it first finishes what it was asked for, within `health.drain_s`."""
        member = self._roster[place]
        has_work = member.is_loaded
        self._roster.move(member, State.RETIRING, "the pool shrinks")
        if has_work:
            member.alarm.set()
        else:
            # Whatever it waits for is of no use any more.
            self._tasks[place].cancel()

    async def shutdown(self) -> None:
        """End every worker and its processes."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _live(self, place: int) -> None:
        member = self._roster[place]
        try:
            while member.state is not State.RETIRING:
                try:
                    await self._look_after(member, place)
                except WorkerError as error:
                    cannot_start = isinstance(error, CannotStartError)
                    self.has_met_a_broken_engine |= cannot_start
                    is_hopeless = cannot_start and member.failures[-1:] == [str(error)]
                    await self._bury(member, str(error), "cannot start" if cannot_start else "is lost")
                    await self._wait_to_restart(member, is_hopeless)
            await self._drain(member)
        finally:
            if member.worker is not None:
                with suppress(WorkerError):
                    await member.worker.stop()
                await member.worker.kill()
            del self._tasks[place]
            self._roster.remove(place)

    async def _look_after(self, member: Member, place: int) -> None:
        """Start its worker, and probe it until it leaves.

        Raises:
            WorkerError: it did not start, died, or failed two probes in a row.
        """
        member.worker = self._spawn(member.name, place)
        member.reason = "waits for room in the cluster"
        await member.worker.place()
        member.is_placed, member.reason = True, "waits for the learner to leave the cards"
        self._roster.notify()
        await self._roster.wait_until(lambda: not self._roster.is_learners_turn)
        member.is_on_cards, member.reason = True, "loads its engine"
        await member.worker.start()
        self._roster.move(member, State.STALE, "loaded, without the published weights")
        while True:
            await self._alarm(member, self._health.probe_every_s)
            if member.state is State.RETIRING:
                return
            if member.replace_because is not None:
                raise WorkerError(member.replace_because)
            await self._probe(member, member.worker)

    async def _probe(self, member: Member, worker: Worker) -> None:
        was_suspect = member.state is State.SUSPECT
        try:
            member.pace.note_probe(await worker.probe())
        except WorkerDiedError:
            raise
        except WorkerError as error:
            if was_suspect:
                raise
            if member.is_loaded:
                self._roster.distrust(member.identity, str(error))
        else:
            if was_suspect and member.state is State.SUSPECT:
                self._roster.trust_again(member)
            elif member.state is State.SERVING:
                member.failures.clear()

    async def _bury(self, member: Member, reason: str, what: str) -> None:
        self._report(f"{member.name} {what}: {reason}")
        member.failures.append(reason)
        if member.state is not State.RETIRING:
            self._roster.move(member, State.DEAD, reason)
        if member.worker is not None:
            await member.worker.kill()
        member.forget_worker()
        self._roster.notify()

    async def _wait_to_restart(self, member: Member, is_hopeless: bool) -> None:
        """
        Args:
            is_hopeless: it failed to start twice in a row, for the same reason.
        """
        num_failures = len(member.failures)
        member.is_quarantined = is_hopeless or num_failures >= self._health.max_failures
        if member.is_quarantined:
            self._report(f"{member.name} is in quarantine after {num_failures} losses: {'; '.join(member.failures)}")
            self._roster.notify()
            while member.is_quarantined:
                await self._alarm(member, None)
            member.failures.clear()
        else:
            pause_s = self._health.restart_pause_s * 2 ** (num_failures - 1)
            await self._alarm(member, min(pause_s, self._health.max_restart_pause_s))
        if member.state is State.DEAD:
            self._roster.move(member, State.STARTING, f"again after: {member.reason}")

    async def _drain(self, member: Member) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._health.drain_s):
                await self._roster.wait_until(lambda: member.load == 0 and not member.is_receiving)

    @staticmethod
    async def _alarm(member: Member, timeout_s: float | None) -> None:
        """Until somebody sets the member's alarm, or `timeout_s` has passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await member.alarm.wait()
        member.alarm.clear()
