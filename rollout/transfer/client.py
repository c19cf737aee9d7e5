"""The learner's calls to many engines during a weight push: vLLM's weight-sync client, fanned out over workers.

vLLM's own Ray client sends every engine the same init info, and so the same ranks. Here each worker gets its own.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from rollout.errors import TransferError, WorkersFailedError, in_one_line

# After a worker has failed, how long the others have to report failures of their own.
_GRACE_S = 1.0
# A rest that is shorter than the whole time by less than this is called the whole time.
_MOMENT_S = 0.01


class WeightReceiver(Protocol):
    """The learner's way to one worker that owns an engine. Each call starts there and returns without waiting."""

    @property
    def name(self) -> str:
        """What errors call the worker."""

    @property
    def num_ranks(self) -> int:
        """Engine ranks behind it: its tensor-parallel size."""

    def join_transfer(self, init_info: dict[str, Any]) -> Future[None]:
        """Join the transfer group that `init_info` describes."""

    def leave_transfer(self) -> Future[None]:
        """Leave the transfer group."""

    def start_update(self, unchanged: Mapping[str, int], hashed: Sequence[str]) -> Future[None]:
        """Prepare for new weights; see `EngineUpdate.start_update`."""

    def receive_weights(self, update_info: dict[str, Any]) -> Future[None]:
        """Receive tensors."""

    def finish_update(self, version: int) -> Future[None]:
        """Put the received weights to use, and call them `version`."""


@dataclass(frozen=True)
class WeightUpdate:
    """What engines must know of a push besides its tensors."""

    version: int
    """What they call the weights that follow."""
    unchanged: Mapping[str, int] = field(default_factory=dict)
    """Number of elements, by name, of each weight that has not changed and does not follow."""
    hashed: Sequence[str] = ()
    """Names of the tensors that the push is verified by."""


class FanOutClient:
    """vLLM's `VLLMWeightSyncClient` over several workers, with one deadline for joining and one for a whole update.

    vLLM's senders call it without saying which update they send; `sending` says it for the calls inside its block.

    Raises (every method):
        WorkersFailedError: names each worker that failed or did not answer in time, and why. Where one has died, others
            may be named because they lost the connection to it: probe them before dropping them.
    """

    def __init__(self, receivers: Sequence[WeightReceiver], timeout_s: float) -> None:
        self._receivers = tuple(receivers)
        self._timeout_s = timeout_s
        self._update: WeightUpdate | None = None
        self._update_ends_s: float | None = None

    @property
    def world_size(self) -> int:
        """Size of the transfer group: the sender and every engine rank."""
        return 1 + sum(receiver.num_ranks for receiver in self._receivers)

    @contextmanager
    def sending(self, update: WeightUpdate) -> Iterator[None]:
        """Inside the block, the weights that are sent are those of `update`."""
        self._update = update
        try:
            yield
        finally:
            self._update = None

    @property
    def update(self) -> WeightUpdate:
        """The update that is being sent.

        Raises:
            TransferError: there is none.
        """
        if self._update is None:
            raise TransferError("send weights inside `FanOutClient.sending(update)`: engines need the update's version")
        return self._update

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Invite every worker, the ranks of each after those of the workers before it."""
        offsets: dict[str, int] = {}
        next_rank = init_info.get("rank_offset", 1)
        for receiver in self._receivers:
            offsets[receiver.name] = next_rank
            next_rank += receiver.num_ranks

        def invite(receiver: WeightReceiver) -> Future[None]:
            # A backend without ranks (CUDA IPC) must not be given any.
            ranks = {"rank_offset": offsets[receiver.name]} if "rank_offset" in init_info else {}
            return receiver.join_transfer({**init_info, **ranks})

        self._on_all("join_transfer", invite)

    def start_weight_update(self) -> None:
        update = self.update
        self._update_ends_s = time.monotonic() + self._timeout_s
        hashed = sorted(update.hashed)
        self._on_all("start_update", lambda receiver: receiver.start_update(update.unchanged, hashed), self._left_s())

    def update_weights(self, update_info: Any) -> None:
        self._on_all("receive_weights", lambda receiver: receiver.receive_weights(update_info), self._left_s())

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        version = self.update.version if weight_version is None else int(weight_version)
        self._on_all("finish_update", lambda receiver: receiver.finish_update(version), self._left_s())

    def shutdown_weight_transfer_engine(self) -> None:
        """Every worker leaves its transfer group."""
        self._on_all("leave_transfer", lambda receiver: receiver.leave_transfer())

    def _left_s(self) -> float:
        """What is left of the time for a whole update, which all its calls share."""
        return self._timeout_s if self._update_ends_s is None else max(0.0, self._update_ends_s - time.monotonic())

    def _on_all(
        self, step: str, start: Callable[[WeightReceiver], Future[None]], timeout_s: float | None = None
    ) -> None:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        calls = {start(receiver): receiver.name for receiver in self._receivers}
        done, pending = wait(calls, timeout_s, FIRST_EXCEPTION)
        failed = any(call.exception() for call in done)
        if failed:
            done, pending = wait(calls, _GRACE_S)
        causes = {calls[call]: in_one_line(error) for call in done if (error := call.exception())}
        if not failed:
            causes = {calls[call]: f"no answer within {self._in_words(timeout_s)}" for call in pending}
        if causes:
            raise WorkersFailedError(step, causes)

    def _in_words(self, waited_s: float) -> str:
        whole, waited = f"{self._timeout_s:g} s", f"{round(waited_s, 2):g} s"
        return whole if self._timeout_s - waited_s < _MOMENT_S else f"{waited}, the rest of the update's {whole}"
