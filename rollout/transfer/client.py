"""The learner's hand on many engines during a weight push: vLLM's weight-sync client, fanned out over workers.

vLLM's own Ray client sends every engine the same init info, and so the same ranks. Here each worker gets its own.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Any, Protocol

from rollout.config import GlooTransferConfig, IpcTransferConfig, NcclTransferConfig
from rollout.errors import TransferError, WorkersFailedError, told

_log = logging.getLogger(__name__)

_MEGABYTE = 10**6
# Once a worker has failed, how long the others may take to tell that they failed too.
_GRACE_S = 1.0


class WorkerPort(Protocol):
    """A way to a worker that owns a `RolloutEngine`."""

    @property
    def name(self) -> str:
        """What errors call it."""

    @property
    def num_ranks(self) -> int:
        """Engine ranks behind it: its tensor-parallel size."""

    def call(self, method: str, *args: object) -> Future[Any]:
        """Start `RolloutEngine.<method>(*args)` and return without waiting (a Ray reference has `.future()`)."""


class FanOutClient:
    """vLLM's `VLLMWeightSyncClient` over several workers, with one deadline for joining and one for a whole update.

    Set before `send_weights()`: `version`, what the engines call the weights that follow; `left_out`, elements by name
    of the weights that have not changed and do not follow; `hashed`, names of the tensors that the push is verified by.

    Raises (every method):
        WorkersFailedError: names each worker that failed or did not answer in time, and why. Where one has died, others
            may be named for having lost the connection to it: ask them before dropping them.
    """

    def __init__(self, workers: Sequence[WorkerPort], timeout_s: float) -> None:
        self.workers = tuple(workers)
        self.version: int | None = None
        self.left_out: Mapping[str, int] = {}
        self.hashed: Collection[str] = ()
        self._timeout_s = timeout_s
        self._update_ends_s: float | None = None

    @property
    def world_size(self) -> int:
        """Size of the transfer group: the sender and every engine rank."""
        return 1 + sum(worker.num_ranks for worker in self.workers)

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Invite every worker, the ranks of each after those of the workers before it."""
        offsets: dict[str, int] = {}
        next_rank = init_info.get("rank_offset", 1)
        for worker in self.workers:
            offsets[worker.name] = next_rank
            next_rank += worker.num_ranks

        def invitation(worker: WorkerPort) -> tuple[dict[str, Any]]:
            # A backend without ranks (CUDA IPC) must not be told any.
            ranks = {"rank_offset": offsets[worker.name]} if "rank_offset" in init_info else {}
            return ({**init_info, **ranks},)

        self._on_all("init_transfer", invitation)

    def start_weight_update(self) -> None:
        if self.version is None:
            raise TransferError("set FanOutClient.version before sending: engines must know what they are given")
        self._update_ends_s = time.monotonic() + self._timeout_s
        self._on_all("start_update", lambda _: (self.left_out, sorted(self.hashed)), self._left_s())

    def update_weights(self, update_info: Any) -> None:
        self._on_all("update_weights", lambda _: (update_info,), self._left_s())

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        version = self.version if weight_version is None else int(weight_version)
        self._on_all("finish_update", lambda _: (version,), self._left_s())

    def _left_s(self) -> float:
        """Of the time for a whole update, however many calls it is made of."""
        return self._timeout_s if self._update_ends_s is None else max(0.0, self._update_ends_s - time.monotonic())

    def shutdown_weight_transfer_engine(self) -> None:
        """Every worker leaves its transfer group."""
        self._on_all("leave_transfer")

    def _on_all(
        self,
        method: str,
        arguments: Callable[[WorkerPort], tuple[object, ...]] = lambda _: (),
        timeout_s: float | None = None,
    ) -> None:
        workers = {worker.call(method, *arguments(worker)): worker for worker in self.workers}
        done, pending = wait(workers, self._timeout_s if timeout_s is None else timeout_s, FIRST_EXCEPTION)
        failed = any(future.exception() for future in done)
        if failed:
            done, pending = wait(workers, _GRACE_S)
        causes = {workers[future].name: told(error) for future in done if (error := future.exception())}
        if not failed:
            causes = {workers[future].name: f"no answer within {self._timeout_s:g} s" for future in pending}
        if causes:
            raise WorkersFailedError(method, causes)


def trainer_init_info(
    config: GlooTransferConfig | NcclTransferConfig | IpcTransferConfig,
    *,
    rank: int,
    world_size: int,
    master_address: str,
    timeout_s: float,
    master_port: int = 0,
    largest_tensor_bytes: int = 0,
) -> Any:
    """The `TrainerInitInfo` that `WeightTransferTrainerFactory.trainer_init` wants for a backend.

    Args:
        rank: this learner rank; 0 sends.
        world_size: `FanOutClient.world_size`.
        master_address: an address of this machine that the engines can reach.
        timeout_s: for forming the group, and for one whole update. (CUDA IPC forms none; its engines have deadlines.)
        master_port: where the sender listens; 0 takes a free port.
        largest_tensor_bytes: of the tensors that are sent.
    """
    bucket_bytes = int(config.bucket_mb * _MEGABYTE)
    if isinstance(config, GlooTransferConfig):
        from rollout.transfer.gloo import GlooTrainerInitInfo

        return GlooTrainerInitInfo(
            rank=rank,
            master_address=master_address,
            master_port=master_port,
            world_size=world_size,
            bucket_bytes=bucket_bytes,
            timeout_s=timeout_s,
        )
    if isinstance(config, NcclTransferConfig):
        from rollout.transfer.nccl import NcclTrainerInitInfo

        return NcclTrainerInitInfo(
            rank=rank,
            master_address=master_address,
            master_port=master_port,
            world_size=world_size,
            packed=True,
            packed_buffer_size_bytes=bucket_bytes,
            packed_num_buffers=config.num_buffers,
            timeout_s=timeout_s,
        )
    from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo

    if largest_tensor_bytes > bucket_bytes:
        # vLLM's buffer holds every tensor whole, and would refuse this one in the middle of the first push.
        _log.warning(
            "rollout.engine.transfer.bucket_mb=%g is less than the largest tensor: the shared buffer has %.0f MB",
            config.bucket_mb,
            largest_tensor_bytes / _MEGABYTE,
        )
        bucket_bytes = largest_tensor_bytes
    return IPCTrainerInitInfo(rank=rank, packed=True, packed_buffer_size_bytes=bucket_bytes)
