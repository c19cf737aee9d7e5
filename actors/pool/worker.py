"""A rollout worker as the coordinator sees it: what it asks of the worker's engine, and how a worker comes and goes."""

from typing import Protocol

from actors.cluster.card_meter import CardTrack
from flow.score import Failure
from flow.trajectory import RolloutRequest, Trajectory
from rollout.canary import Canary
from rollout.transfer.client import WeightReceiver
from rollout.vitals import Vitals


class WorkerError(Exception):
    """A rollout worker did not do what it was asked to. The message says who waited for which worker, and for what."""


class WorkerLateError(WorkerError):
    """The worker did not answer before its deadline."""


class CannotStartError(WorkerError):
    """The worker's engine cannot start, and the message says why: another try would end the same way."""


class WorkerDiedError(WorkerError):
    """The worker's process is gone."""


class EnginePort(Protocol):
    """What the coordinator asks of an engine. Every call has a deadline of its own.

    Raises (every coroutine):
        WorkerDiedError: its process is gone.
        WorkerError: anything else, a passed deadline among it.
    """

    async def generate(self, request: RolloutRequest) -> Trajectory | Failure:
        """One response. If the caller stops waiting, the engine stops generating it."""

    async def probe(self) -> Vitals | None:
        """Have the engine generate a token: one that only answers is not healthy. Returns its latest numbers."""

    async def card_tracks(self) -> list[CardTrack]:
        """How busy its cards were, and how full their memory, since the last call; empty without GPUs."""

    async def pause(self) -> None:
        """Stop scheduling; responses in flight are kept, new requests wait."""

    async def resume(self) -> None:
        """Continue generating; wakes what still sleeps."""

    async def sleep(self) -> float:
        """Give the cards' memory back, weights included; returns the GiB that each card has gained."""

    async def wake_weights(self) -> None:
        """Take memory for the weights again, which a push must then bring."""

    async def weight_version(self) -> int:
        """The version that the engine itself reports."""

    async def received_checksums(self) -> list[dict[str, str]]:
        """BLAKE3 by name of the latest push's tensors, as each rank of the engine received them."""

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        """Log-probabilities of the canary's response under the engine's weights."""

    @property
    def receiver(self) -> WeightReceiver:
        """The learner's way to this engine in a weight push."""


class Worker(EnginePort, Protocol):
    """A rollout worker as the pool sees it: an engine, and the life of the process that has it."""

    async def place(self) -> None:
        """Find room in the cluster."""

    async def start(self) -> None:
        """Load the engine.

        Raises:
            CannotStartError: it cannot be loaded.
        """

    async def stop(self) -> None:
        """End the engine in good order, then the worker."""

    async def kill(self) -> None:
        """End the worker and every process that it started, now. Never raises."""
