"""The learner's end of the gloo backend, behind vLLM's own interface for weight transfer.

Rank 0 is the sender; engine ranks follow. Each bucket of `rollout.transfer.buckets` is one broadcast. Every step has a
deadline, and a peer that died ends the transfer with a `TransferError`.
"""

from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Self

import torch.distributed as dist
from vllm.distributed.weight_transfer.base import (
    ParamMeta,
    TrainerInitInfo,
    TrainerWeightTransferEngine,
    WeightSource,
)

from rollout.config import GlooTransferConfig
from rollout.errors import TransferError
from rollout.transfer.buckets import FilledBucket, PackedSource
from rollout.transfer.client import FanOutClient
from rollout.transfer.gloo_group import AHEAD, GlooGroup, in_background
from rollout.transfer.gloo_messages import GlooInitInfo, GlooUpdateInfo

# How long the sender waits for the receivers' own report of a failure.
_ACCOUNT_S = 5.0


@dataclass
class GlooTrainerInitInfo(TrainerInitInfo):
    """Where the group meets. `rank` (keyword only) is the learner rank; 0 sends, the others only help to gather."""

    backend: ClassVar[str] = GlooTransferConfig.backend

    master_address: str
    """An address of this machine that the engines can reach."""
    world_size: int
    """1 + the ranks of all engines."""
    bucket_bytes: int
    """Size of a bucket, if the source does not bring buckets of its own size."""
    timeout_s: float
    """For forming the group, and for each broadcast."""
    master_port: int = field(default=0)
    """0 takes a free port."""


class GlooTrainerWeightTransferEngine(TrainerWeightTransferEngine[GlooTrainerInitInfo]):
    """Sends a `WeightSource` to all engines; lives in the learner, and needs no vLLM engine."""

    init_info_cls = GlooTrainerInitInfo

    _group: GlooGroup | None = None

    def __init__(self, *, client: FanOutClient, source: PackedSource, is_sender: bool) -> None:
        super().__init__(client=client, source=source, is_sender=is_sender)
        self._client = client
        self._packed = source

    @classmethod
    def trainer_init(
        cls, init_info: GlooTrainerInitInfo, *, client: FanOutClient, source: WeightSource | None = None
    ) -> Self:
        """Form the group with every engine behind `client`.

        Raises:
            TransferError: an engine did not join within the deadline, or refused.
        """
        if source is None:
            raise ValueError("the gloo trainer needs a WeightSource")
        if not isinstance(source, PackedSource):
            source = PackedSource(source, init_info.bucket_bytes, keeps=init_info.is_sender, hashes=init_info.is_sender)
        engine = cls(client=client, source=source, is_sender=init_info.is_sender)
        if engine.is_sender:
            engine._group = engine._form_group(init_info)
        return engine

    def _form_group(self, init_info: GlooTrainerInitInfo) -> GlooGroup:
        address, timeout_s = init_info.master_address, init_info.timeout_s
        store = dist.TCPStore(
            address,
            init_info.master_port,
            is_master=True,
            timeout=timedelta(seconds=timeout_s),
            wait_for_workers=False,
        )
        invitation = GlooInitInfo(
            master_address=address,
            master_port=store.port,
            rank_offset=1,
            world_size=init_info.world_size,
            bucket_bytes=self._packed.bucket_bytes,
            timeout_s=timeout_s,
        )
        joined = in_background(self._client.init_weight_transfer_engine, asdict(invitation))
        group = in_background(GlooGroup, store, address, 0, init_info.world_size, timeout_s)
        # The side that fails first says why; the other one ends by its own deadline.
        both: tuple[Future[Any], ...] = (joined, group)
        wait(both, return_when=FIRST_EXCEPTION)
        for future in both:
            if future.done():
                future.result()
        return group.result()

    def send_weights(self) -> None:
        """Push the source's weights to every engine; call it on every learner rank.

        Raises:
            TransferError: an engine or the connection failed; form a new group before the next push.
        """
        buckets = self._packed.buckets()
        try:
            if self.is_sender:
                self._push(self._packed.metadata(), buckets)
        finally:
            # Gathering is a collective: ranks that do not send, or whose sender failed, must complete it too.
            for _ in buckets:
                pass

    def _push(self, metas: list[ParamMeta], buckets: Iterator[FilledBucket]) -> None:
        if self._group is None:
            raise TransferError("no transfer group: an earlier push failed, or shutdown was called")
        update = GlooUpdateInfo(
            names=[meta.name for meta in metas],
            dtype_names=[str(meta.dtype).removeprefix("torch.") for meta in metas],
            shapes=[list(meta.shape) for meta in metas],
            is_whole=not self._client.update.unchanged,
        )
        self._client.start_weight_update()
        received = in_background(self._client.update_weights, asdict(update))

        def answers() -> object:
            """Ends the wait by a receiver's error: one that refuses would never take part."""
            return received.done() and received.result()

        try:
            for _, buffer in buckets:
                # Some travel while the next is filled.
                self._group.start(buffer)
                self._group.finish(left=AHEAD, check=answers)
            self._group.finish(check=answers)
            received.result()
        except BaseException as error:
            # It also breaks the receivers' waits, so that their reports come soon.
            self.shutdown()
            if isinstance(error, TransferError):
                with suppress(TimeoutError):
                    if (account := received.exception(_ACCOUNT_S)) not in (None, error):
                        raise account from error  # it says more than a lost connection
            raise
        self._client.finish_weight_update()

    def shutdown(self) -> None:
        if self._group is not None:
            self._group.close()
            self._group = None
