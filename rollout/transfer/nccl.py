"""vLLM's packed NCCL backend, with an end to every wait.

NCCL has no deadlines: if a peer dies, the others wait for it forever, inside a call that ends only if another thread
aborts the communicator. Both ends here have such a thread (`Watch`).
"""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor
from vllm.distributed.weight_transfer.base import ParamMeta, VLLMWeightSyncClient, WeightSource
from vllm.distributed.weight_transfer.nccl_common import NCCLWeightTransferInitInfo, worker_init_payload
from vllm.distributed.weight_transfer.nccl_engine import (
    NCCLTrainerInitInfo,
    NCCLTrainerWeightTransferEngine,
    NCCLWeightTransferEngine,
    NCCLWeightTransferUpdateInfo,
)

from rollout.config import NcclTransferConfig
from rollout.errors import TransferError
from rollout.transfer.gloo_group import in_background

# How long the sender waits for the receivers' own report of a failure.
_ACCOUNT_S = 5.0
_POLL_S = 0.01


class Communicator(Protocol):
    """vLLM's `PyNcclCommunicator`, as far as it is used here."""

    def destroy(self) -> None:
        """Abort: ends every wait in one of its calls, here and at its peers."""


class Watch:
    """Aborts a communicator while its block runs, once `answer` is a failure or `timeout_s` has passed."""

    def __init__(self, communicator: Communicator, timeout_s: float, answer: "Future[Any] | None" = None) -> None:
        self.has_aborted = False
        self._communicator = communicator
        self._timeout_s = timeout_s
        self._answer = answer
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="transfer-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        deadline_s = time.monotonic() + self._timeout_s
        while not self._is_over.wait(_POLL_S):
            if self._has_failed() or time.monotonic() > deadline_s:
                self.has_aborted = True
                self._communicator.destroy()
                return

    def _has_failed(self) -> bool:
        return self._answer is not None and self._answer.done() and self._answer.exception() is not None


# --- engine side ------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class NcclInitInfo(NCCLWeightTransferInitInfo):
    """What an engine needs to join a group."""

    timeout_s: float
    """For one whole update."""


class NcclWeightTransferEngine(NCCLWeightTransferEngine):
    """Receives weights, and gives up when they do not come."""

    init_info_cls = NcclInitInfo

    _timeout_s = 0.0

    def init_transfer_engine(self, init_info: NCCLWeightTransferInitInfo) -> None:
        assert isinstance(init_info, NcclInitInfo)
        self._timeout_s = init_info.timeout_s
        super().init_transfer_engine(init_info)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """
        Raises:
            TransferError: the weights did not come, or not all of them; a new group must be formed.
        """
        if self.model_update_group is None:
            raise TransferError("this engine belongs to no transfer group; init_transfer_engine comes first")
        watch = Watch(self.model_update_group, self._timeout_s)
        try:
            with watch:
                super().update_weights(update_info)
            if watch.has_aborted:
                raise TransferError(f"the weights did not come within {self._timeout_s:g} s")
        except BaseException:
            self.shutdown()
            raise


# --- trainer side -----------------------------------------------------------------------------------------------------


@dataclass
class NcclTrainerInitInfo(NCCLTrainerInitInfo):
    """Where the group meets; port 0 takes a free one."""

    backend: ClassVar[str] = NcclTransferConfig.backend

    timeout_s: float = field(kw_only=True)
    """For forming the group, and for one whole update."""


class NcclTrainerWeightTransferEngine(NCCLTrainerWeightTransferEngine):
    """Sends weights, and gives up when an engine dies or does not take them: the learner lives on."""

    init_info_cls = NcclTrainerInitInfo

    _timeout_s = 0.0
    _device_index = 0

    @classmethod
    def trainer_init(
        cls, init_info: NCCLTrainerInitInfo, *, client: VLLMWeightSyncClient, source: WeightSource | None = None
    ) -> Self:
        """Form the group with every engine behind `client`.

        Raises:
            TransferError: an engine did not join within the deadline, or refused.
        """
        assert isinstance(init_info, NcclTrainerInitInfo)
        if source is None:
            raise ValueError("the NCCL trainer needs a WeightSource")
        engine = cls(
            client=client,
            source=source,
            is_sender=init_info.is_sender,
            packed=True,
            packed_buffer_size_bytes=init_info.packed_buffer_size_bytes,
            packed_num_buffers=init_info.packed_num_buffers,
        )
        engine._timeout_s = init_info.timeout_s
        engine._device_index = torch.accelerator.current_device_index() if torch.accelerator.is_available() else 0
        if engine.is_sender:
            engine.model_update_group = engine._form_group(init_info)
        return engine

    def _form_group(self, info: NcclTrainerInitInfo) -> Any:
        # Bound from here on: a port that was only looked up may be taken by the time it is used.
        listener = socket.create_server((info.master_address, info.master_port))
        invitation = NcclInitInfo(
            master_address=info.master_address,
            master_port=listener.getsockname()[1],
            rank_offset=1,
            world_size=info.world_size,
            packed=True,
            packed_buffer_size_bytes=info.packed_buffer_size_bytes,
            packed_num_buffers=info.packed_num_buffers,
            timeout_s=info.timeout_s,
        )
        joined = in_background(self.client.init_weight_transfer_engine, worker_init_payload(invitation))
        group = in_background(self.open_communicator, listener, info)
        # The side that fails first says why. A thread that waits for a peer in NCCL cannot be ended; it harms nobody.
        wait([joined, group], info.timeout_s + _ACCOUNT_S, FIRST_EXCEPTION)
        try:
            for future in (joined, group):
                if future.done():
                    future.result()
            if not (joined.done() and group.done()):
                raise TransferError(f"no NCCL group of {info.world_size} within {info.timeout_s:g} s")
        except BaseException as error:
            group.add_done_callback(_destroy)
            if isinstance(error, TransferError) or not isinstance(error, RuntimeError):
                raise
            raise TransferError(f"no NCCL group of {info.world_size}: {error}") from error
        return group.result()

    def open_communicator(self, listener: socket.socket, info: NcclTrainerInitInfo) -> Communicator:
        """The sender's end, once all others have joined; `listener` is where they meet."""
        from vllm.distributed.device_communicators.pynccl import PyNcclCommunicator
        from vllm.distributed.utils import StatelessProcessGroup
        from vllm.utils.nccl import unpinned_nccl_env

        meeting = StatelessProcessGroup.create(
            host=info.master_address,
            port=listener.getsockname()[1],
            rank=0,
            world_size=info.world_size,
            store_timeout=max(1, int(info.timeout_s)),
            listen_socket=listener,
        )
        with unpinned_nccl_env():
            # The device of the calling thread: in this new thread the current device is always the first.
            return PyNcclCommunicator(meeting, device=self._device_index)

    def send_weights(self) -> None:
        """Push the source's weights to every engine; call it on every learner rank.

        Raises:
            TransferError: an engine or the connection failed; form a new group before the next push.
        """
        assert self.source is not None
        weights = iter(self.source)
        try:
            if self.is_sender:
                self._push(self.source.metadata(), weights)
        finally:
            # Gathering is a collective: ranks that do not send, or whose sender failed, must complete it too.
            for _ in weights:
                pass
        self._post_send_sync()

    def _push(self, metas: list[ParamMeta], weights: Iterator[tuple[str, Tensor]]) -> None:
        if self.model_update_group is None:
            raise TransferError("no transfer group: an earlier push failed, or shutdown was called")
        update = NCCLWeightTransferUpdateInfo(
            names=[meta.name for meta in metas],
            dtype_names=[str(meta.dtype).removeprefix("torch.") for meta in metas],
            shapes=[list(meta.shape) for meta in metas],
        )
        self.client.start_weight_update()
        received = in_background(self.client.update_weights, asdict(update))
        watch = Watch(self.model_update_group, self._timeout_s, received)
        try:
            with watch:
                self._broadcast(weights, metas)
                # Under the watch too: a receiver may die after everything was sent, before it has taken it.
                wait([received], self._timeout_s)
            if received.done():
                received.result()
            if watch.has_aborted or not received.done():
                raise TransferError(f"the engines did not take the weights within {self._timeout_s:g} s")
        except BaseException as error:
            # It also breaks the receivers' waits, so that their reports come soon.
            self.shutdown()
            cause = self._most_telling(error, received)
            if cause is error:
                raise
            raise cause from error
        self.client.finish_weight_update()

    @staticmethod
    def _most_telling(error: BaseException, received: "Future[Any]") -> BaseException:
        """The failure that says most: the engine's own, if the engine broke the connection."""
        if not isinstance(error, RuntimeError):
            return error
        with suppress(TimeoutError):
            if (account := received.exception(_ACCOUNT_S)) is not None:
                return account
        return error if isinstance(error, TransferError) else TransferError(f"sending the weights failed: {error}")


def _destroy(group: "Future[Communicator]") -> None:
    if group.exception() is None:
        group.result().destroy()
