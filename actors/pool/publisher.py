"""From a new version of the weights to engines that serve it, though engines come, go and fail meanwhile."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from actors.pool.member import Member, State
from actors.pool.roster import Roster
from actors.pool.worker import EnginePort, WorkerError
from flow.receipt import PushReceipt
from rollout.canary import Canary, mean_difference
from rollout.errors import TransferError, WorkersFailedError, in_one_line

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Sender(Protocol):
    """The learner as the publisher sees it."""

    async def connect(self, engines: Mapping[str, EnginePort]) -> None:
        """Leave the present transfer group and form one with `engines`; the next push brings every weight.

        Args:
            engines: by name.
        """

    async def put_away(self) -> float:
        """Leave the cards to the engines, except for the weights; returns the GiB that a card has gained."""

    async def pack(self, version: int) -> None:
        """Make ready what the next push sends; the engines keep generating."""

    async def push(self, version: int) -> PushReceipt: ...

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        """Log-probabilities of the canary's response under the learner's weights."""


class PushError(RuntimeError):
    """No engine could be given the new weights, although some are alive; the message names all causes."""


class WeightPublisher:
    """Reconcile members → pack → pause and keep → send → every engine acknowledges version and checksums → resume →
    every engine finds the canary as likely as the learner does → serve.

    Where learner and engines take turns on the same cards: the learner puts its optimiser away, engines wake for
    weights before they are sent, and for keys and values when they resume.

    Args:
        max_attempts: how many times a push is tried, each time with the engines that are well, before the run ends.
        canary: the check of each engine's arithmetic; None for no check.
    """

    def __init__(self, sender: Sender, roster: Roster, max_attempts: int, canary: Canary | None = None) -> None:
        self._sender = sender
        self._roster = roster
        self._max_attempts = max_attempts
        self._canary = canary
        # The learner's own, with their version: while that is published, engines that join are compared with the same.
        self._canary_logprobs: tuple[int, list[float]] | None = None
        self._connected: frozenset[tuple[str, int]] = frozenset()
        self.exclusive = asyncio.Lock()
        """Held while the learner's weights are not those of the published version, and during a push."""
        self.version: int | None = None

    async def publish(self, version: int) -> Mapping[str, float]:
        """Give every engine the learner's weights as `version`. Call it with `exclusive` held.

        Responses in flight are kept, and continue under the new weights. Without an engine nothing is sent: engines
        that come later are synced then.

        Raises:
            PushError: engines are alive, and none could be given the weights.
        """
        turn = await self._end_learners_turn() if self._roster.is_learners_turn else {}
        metrics = await self._push_to(lambda: self._roster.loaded, version)
        self.version = version
        return {**turn, **metrics}

    async def _end_learners_turn(self) -> Mapping[str, float]:
        started_s = time.perf_counter()
        gained_gib = await self._sender.put_away()
        self._roster.is_learners_turn = False
        self._roster.notify()
        return {"time/put_away_s": time.perf_counter() - started_s, "memory/learner_gave_gib": gained_gib}

    async def keep_in_sync(self) -> None:
        """Forever: give workers that join between two pushes the published weights, without stopping the others."""

        def stale() -> list[Member]:
            return [member for member in self._roster.loaded if member.state is State.STALE]

        while True:
            await self._roster.wait_until(lambda: self.version is not None and bool(stale()))
            async with self.exclusive:
                if self.version is not None and stale():
                    await self._push_to(stale, self.version)

    async def _push_to(self, choose: Callable[[], list[Member]], version: int) -> Mapping[str, float]:
        causes: list[str] = []
        for _ in range(self._max_attempts):
            # A member that failed a step is being probed: it comes back, or is replaced.
            await self._roster.wait_until(lambda: self._roster.is_settled)
            members = choose()
            if not members:
                return {"push_bytes": 0, "push_engines": 0, "push_attempts": len(causes)}
            try:
                with self._roster.receiving(members):
                    metrics = await self._push(members, version)
            except TransferError as error:
                causes.append(in_one_line(error))
                _log.warning("push of version %d, attempt %d: %s", version, len(causes), causes[-1])
                self._connected = frozenset()
                self._distrust(members, error)
            else:
                return {**metrics, "push_engines": len(members), "push_attempts": len(causes) + 1}
        raise PushError(f"version {version} could not be pushed in {len(causes)} attempts: {'; '.join(causes)}")

    async def _push(self, members: Sequence[Member], version: int) -> dict[str, float]:
        identities = frozenset(member.identity for member in members)
        is_new_group = identities != self._connected
        if is_new_group:
            self._connected = frozenset()
            engines = {member.name: member.worker for member in members if member.worker is not None}
            await self._sender.connect(engines)
            self._connected = identities
        started_s = time.perf_counter()
        await self._sender.pack(version)
        metrics = {"time/pack_s": time.perf_counter() - started_s}
        await _on_each(members, "pause", lambda engine: engine.pause())
        paused_s = time.perf_counter()
        asleep = [member for member in members if not member.is_on_cards]
        wake_s = await self._wake(asleep, "wake_weights", lambda engine: engine.wake_weights())
        receipt = await self._sender.push(version)
        await self._verify(members, version, receipt)
        wake_s += await self._wake(asleep, "resume", lambda engine: engine.resume())
        awake = [member for member in members if member not in asleep]
        await _on_each(awake, "resume", lambda engine: engine.resume())
        metrics |= {"push_bytes": receipt.num_bytes, "time/rollout_pause_s": time.perf_counter() - paused_s}
        metrics |= {"time/wake_s": wake_s} if asleep else {}
        if self._canary is not None and self._canary.is_due(version, is_new_group):
            metrics["canary_difference"] = await self._try_canary(self._canary, members, version)
        self._roster.serve(members, version)
        return metrics

    async def _wake(self, members: Sequence[Member], step: str, ask: Callable[[EnginePort], Awaitable[None]]) -> float:
        """A step that takes memory on the cards; returns its seconds.

        Raises:
            WorkersFailedError: names those that failed, and why. They are replaced, since nobody knows what they hold.
        """
        started_s = time.perf_counter()
        for member in members:
            member.is_on_cards = True
        try:
            await _on_each(members, step, ask)
        except WorkersFailedError as error:
            for member in members:
                if member.name in error.causes:
                    self._roster.condemn(member.identity, f"does not wake up: {error.causes[member.name]}")
            raise
        return time.perf_counter() - started_s

    async def _verify(self, members: Sequence[Member], version: int, receipt: PushReceipt) -> None:
        """
        Raises:
            WorkersFailedError: names the engines that report another version or hold other bytes, and which tensors.
        """
        versions = await _on_each(members, "weight_version", lambda engine: engine.weight_version())
        causes = {name: f"reports version {seen}" for name, seen in versions.items() if seen != version}
        if receipt.checksums:
            received = await _on_each(members, "received_checksums", lambda engine: engine.received_checksums())
            for name, ranks in received.items():
                if wrong := _differing(receipt.checksums, ranks):
                    causes[name] = f"received {len(wrong)} tensors wrongly, among them {', '.join(wrong[:3])}"
        if causes:
            raise WorkersFailedError(f"acknowledge version {version}", causes)

    async def _try_canary(self, canary: Canary, members: Sequence[Member], version: int) -> float:
        """Largest mean difference of an engine's log-probabilities of the canary from the learner's, in nats a token.

        Raises:
            WorkersFailedError: names the engines that differ too much, and by how much; they stay paused.
        """
        if self._canary_logprobs is None or self._canary_logprobs[0] != version:
            self._canary_logprobs = version, await self._sender.canary_logprobs(canary)
        expected = self._canary_logprobs[1]
        found = await _on_each(members, "canary_logprobs", lambda engine: engine.canary_logprobs(canary))
        differences = {name: mean_difference(expected, logprobs) for name, logprobs in found.items()}
        causes = {
            name: f"its log-probabilities of the canary differ from the learner's by {difference:.2g} nats a token; "
            f"{canary.max_difference:g} are allowed (rollout.engine.canary.max_difference)"
            for name, difference in differences.items()
            if difference > canary.max_difference
        }
        if causes:
            # Responses in flight would continue under wrong weights.
            wrong = [member for member in members if member.name in causes]
            await _on_each(wrong, "pause", lambda engine: engine.pause())
            raise WorkersFailedError(f"canary of version {version}", causes)
        return max(differences.values())

    def _distrust(self, members: Sequence[Member], error: Exception) -> None:
        """Have the members probed that an error names, or all of them if it names none."""
        named = error.causes if isinstance(error, WorkersFailedError) else {}
        for member in members:
            if not named or member.name in named:
                reason = named.get(member.name, in_one_line(error))
                self._roster.distrust(member.identity, reason, holds_weights=False)


async def _on_each(members: Iterable[Member], step: str, ask: Callable[[EnginePort], Awaitable[T]]) -> dict[str, T]:
    """The same step of a push on each member's engine; answers by name.

    Args:
        step: what errors call it.
        ask: asks one engine.

    Raises:
        WorkersFailedError: names those that failed, and why.
    """
    asked = {member.name: member.worker for member in members if member.worker is not None}
    answers = await asyncio.gather(*map(ask, asked.values()), return_exceptions=True)
    by_name = dict(zip(asked, answers, strict=True))
    causes = {name: str(answer) for name, answer in by_name.items() if isinstance(answer, WorkerError)}
    if causes:
        raise WorkersFailedError(step, causes)
    given: dict[str, T] = {}
    for name, answer in by_name.items():
        if isinstance(answer, BaseException):
            raise answer
        given[name] = answer
    return given


def _differing(sent: Mapping[str, str], ranks: Sequence[Mapping[str, str]]) -> list[str]:
    return sorted({name for rank in ranks for name, digest in sent.items() if rank.get(name) != digest})
