"""From a new version to engines that serve it, whoever comes, goes or fails meanwhile."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from actors.member import Member, State
from actors.rollout_pool import RolloutPool
from rollout.errors import TransferError, WorkersFailedError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PushReceipt:
    """What the learner sent."""

    num_bytes: int
    checksums: Mapping[str, str]
    """SHA-256 by name of the tensors that this push is verified by; empty where the transport offers none."""


class Sender(Protocol):
    """The learner as the publisher sees it."""

    async def connect(self, workers: Mapping[str, Any]) -> None:
        """Give up the transfer group there is and form a new one with `workers`; the next push brings everything."""

    async def push(self, version: int) -> PushReceipt: ...


class PushError(RuntimeError):
    """No engine could be given the new weights, although some are alive; the message tells all causes."""


class WeightPublisher:
    """Reconcile members → pause and keep → send → every engine acknowledges version and checksums → resume.

    Args:
        max_attempts: how often a push is begun, with whoever is well then, before the run ends.
    """

    def __init__(self, sender: Sender, pool: RolloutPool, max_attempts: int) -> None:
        self._sender = sender
        self._pool = pool
        self._max_attempts = max_attempts
        self._connected: frozenset[tuple[str, int]] = frozenset()
        self.exclusive = asyncio.Lock()
        """Held while the learner's weights are not those of the published version, and during a push."""
        self.version: int | None = None

    async def publish(self, version: int) -> Mapping[str, float]:
        """Give every engine the learner's weights as `version`. Call it with `exclusive` held.

        Responses in flight are kept, and go on under the new weights. Without an engine nothing is sent: those that
        come later are synced then.

        Raises:
            PushError: engines are alive, and none could be given the weights.
        """
        metrics = await self._push_to(lambda: self._pool.loaded, version)
        self.version = version
        return metrics

    async def keep_in_sync(self) -> None:
        """For ever: give workers that join between two pushes the published weights, without stopping the others."""

        def stale() -> list[Member]:
            return [member for member in self._pool.loaded if member.state is State.STALE]

        while True:
            await self._pool.wait_until(lambda: self.version is not None and bool(stale()))
            async with self.exclusive:
                if self.version is not None and stale():
                    await self._push_to(stale, self.version)

    async def _push_to(self, choose: Callable[[], list[Member]], version: int) -> Mapping[str, float]:
        causes: list[str] = []
        for _ in range(self._max_attempts):
            # Whoever failed a step is being probed: it comes back, or is gone.
            await self._pool.wait_until(lambda: self._pool.is_settled)
            members = choose()
            if not members:
                return {"push_bytes": 0, "push_engines": 0, "push_attempts": len(causes)}
            try:
                with self._pool.receiving(members):
                    metrics = await self._push(members, version)
            except TransferError as error:
                # What crossed Ray is of two types; the plain one is its cause.
                plain = getattr(error, "cause", error)
                causes.append(str(plain).splitlines()[0])
                _log.warning("push of version %d, attempt %d: %s", version, len(causes), causes[-1])
                self._connected = frozenset()
                self._distrust(members, plain)
            else:
                return {**metrics, "push_engines": len(members), "push_attempts": len(causes) + 1}
        raise PushError(f"version {version} could not be pushed in {len(causes)} attempts: {'; '.join(causes)}")

    async def _push(self, members: Sequence[Member], version: int) -> dict[str, float]:
        identities = frozenset(member.identity for member in members)
        if identities != self._connected:
            self._connected = frozenset()
            await self._sender.connect({member.name: member.worker for member in members})
            self._connected = identities
        await self._pool.call(members, "pause")
        paused_s = time.perf_counter()
        receipt = await self._sender.push(version)
        await self._verify(members, version, receipt)
        await self._pool.call(members, "resume")
        self._pool.serve(members, version)
        return {"push_bytes": receipt.num_bytes, "time/rollout_pause_s": time.perf_counter() - paused_s}

    async def _verify(self, members: Sequence[Member], version: int, receipt: PushReceipt) -> None:
        """
        Raises:
            WorkersFailedError: names the engines that report another version or hold other bytes, and which tensors.
        """
        versions = await self._pool.call(members, "weight_version")
        causes = {name: f"reports version {seen}" for name, seen in versions.items() if seen != version}
        if receipt.checksums:
            received = await self._pool.call(members, "received_checksums")
            for name, ranks in received.items():
                if wrong := _differing(receipt.checksums, ranks):
                    causes[name] = f"received {len(wrong)} tensors wrongly, among them {', '.join(wrong[:3])}"
        if causes:
            raise WorkersFailedError(f"acknowledge version {version}", causes)

    def _distrust(self, members: Sequence[Member], error: Exception) -> None:
        """Have those probed that an error names; all of them if it names none."""
        named = error.causes if isinstance(error, WorkersFailedError) else {}
        for member in members:
            if not named or member.name in named:
                reason = named.get(member.name, str(error).splitlines()[0])
                self._pool.distrust(member.identity, reason, holds_weights=False)


def _differing(sent: Mapping[str, str], ranks: Any) -> list[str]:
    return sorted({name for rank in ranks for name, digest in sent.items() if rank.get(name) != digest})
