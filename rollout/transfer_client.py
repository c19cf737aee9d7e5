"""The learner's hand on many engines during a weight push: vLLM's weight-sync client, fanned out over workers.

vLLM's own Ray client sends every engine the same init info, and so the same ranks. Here each worker gets its own.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Any, Protocol

from rollout.config import GlooTransferConfig, IpcTransferConfig, NcclTransferConfig
from rollout.errors import TransferError, WorkersFailedError

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
    """vLLM's `VLLMWeightSyncClient` over several workers, each step with a deadline.

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
        self._on_all("start_update", lambda _: (self.left_out, sorted(self.hashed)))

    def update_weights(self, update_info: Any) -> None:
        self._on_all("update_weights", lambda _: (update_info,))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        version = self.version if weight_version is None else int(weight_version)
        self._on_all("finish_update", lambda _: (version,))

    def shutdown_weight_transfer_engine(self) -> None:
        """Every worker leaves its transfer group."""
        self._on_all("leave_transfer")

    def _on_all(self, method: str, arguments: Callable[[WorkerPort], tuple[object, ...]] = lambda _: ()) -> None:
        workers = {worker.call(method, *arguments(worker)): worker for worker in self.workers}
        done, pending = wait(workers, self._timeout_s, FIRST_EXCEPTION)
        failed = any(future.exception() for future in done)
        if failed:
            done, pending = wait(workers, _GRACE_S)
        causes = {workers[future].name: describe(error) for future in done if (error := future.exception())}
        if not failed:
            causes = {workers[future].name: f"no answer within {self._timeout_s:g} s" for future in pending}
        if causes:
            raise WorkersFailedError(method, causes)


def describe(error: BaseException) -> str:
    """An error's type and message, on as many lines as it likes."""
    return f"{type(error).__name__}: {error}"


def trainer_init_info(
    config: GlooTransferConfig | NcclTransferConfig | IpcTransferConfig,
    *,
    rank: int,
    world_size: int,
    master_address: str,
    master_port: int,
    timeout_s: float,
) -> Any:
    """The `TrainerInitInfo` that `WeightTransferTrainerFactory.trainer_init` wants for a backend.

    Args:
        rank: this learner rank; 0 sends.
        world_size: `FanOutClient.world_size`.
        master_address: an address of this machine that the engines can reach.
        master_port: a free port; gloo takes 0 for "any", NCCL does not.
    """
    bucket_bytes = int(config.bucket_mb * _MEGABYTE)
    if isinstance(config, GlooTransferConfig):
        from rollout.gloo_transfer import GlooTrainerInitInfo

        return GlooTrainerInitInfo(
            rank=rank,
            master_address=master_address,
            master_port=master_port,
            world_size=world_size,
            bucket_bytes=bucket_bytes,
            timeout_s=timeout_s,
        )
    if isinstance(config, NcclTransferConfig):
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        return NCCLTrainerInitInfo(
            rank=rank,
            master_address=master_address,
            master_port=master_port,
            world_size=world_size,
            packed=True,
            packed_buffer_size_bytes=bucket_bytes,
            packed_num_buffers=config.num_buffers,
        )
    from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo

    return IPCTrainerInitInfo(rank=rank, packed=True, packed_buffer_size_bytes=bucket_bytes)
