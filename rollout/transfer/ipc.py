"""The learner's end of CUDA IPC: vLLM's, which ends on every rank together, also when an engine fails.

Each learner rank fills a buffer on its own card. Rank 0 collects the handles of all buffers and calls the engines,
whose ranks read from the buffer on their card. So the learner ranks go through the buffers in step; if rank 0 alone
stopped at an engine's failure, the others would wait for it until their collective's deadline.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo, IPCTrainerWeightTransferEngine

from rollout.config import IpcTransferConfig


@dataclass
class IpcTrainerInitInfo(IPCTrainerInitInfo):
    """What a learner rank needs to share its weights."""

    backend: ClassVar[str] = IpcTransferConfig.sender_backend


class IpcTrainerWeightTransferEngine(IPCTrainerWeightTransferEngine):
    """Shares weights with the engine ranks of every rank's card, in packed buffers."""

    init_info_cls = IpcTrainerInitInfo
    _failure: Exception | None = None

    def send_weights(self) -> None:
        """Push the source's weights to every engine; call it on every learner rank.

        Raises:
            TransferError: an engine failed; on rank 0 alone, once the others have come as far.
        """
        assert self.source is not None
        self._failure = None
        if self.is_sender:
            self._ask(self.client.start_weight_update)
        self._send_packed(self.source)
        if self.is_sender:
            self._ask(self.client.finish_weight_update)
        self._post_send_sync()
        if self._failure is not None:
            raise self._failure

    def _do_send(self, **update: Any) -> None:
        self._ask(partial(super()._do_send, **update))

    def _ask(self, engines: Callable[[], object]) -> None:
        """Call the engines, unless one has failed already."""
        if self._failure is None:
            try:
                engines()
            except Exception as error:  # raised when all ranks are through
                self._failure = error
