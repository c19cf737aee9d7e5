"""A weight-transfer backend over gloo for CPU, behind vLLM's own interface: its two ends.

Rank 0 is the sender; engine ranks follow. Each bucket of `rollout.transfer.buckets` is one broadcast. Every step has a
deadline, and a peer that died ends the transfer with a `TransferError`.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Self

import torch
import torch.distributed as dist
from torch import nn
from vllm.distributed.weight_transfer.base import (
    ParamMeta,
    TrainerInitInfo,
    TrainerWeightTransferEngine,
    WeightSource,
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.layers.attention import is_deferred_attention_layer
from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.model_executor.model_loader.reload.layerwise import (
    _get_original_loader,
    _place_kernel_tensors,
    get_layer_tensors,
    get_layerwise_info,
)

from rollout.config import GlooTransferConfig
from rollout.errors import IncompleteUpdateError, TransferError
from rollout.transfer.buckets import Bucket, FilledBucket, PackedSource, plan_buckets
from rollout.transfer.client import FanOutClient
from rollout.transfer.gloo_group import AHEAD, GlooGroup, in_background
from rollout.transfer.reload import abandon_reload

# How long the sender waits for the receivers' own report of a failure.
_ACCOUNT_S = 5.0


# --- engine side ------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class GlooInitInfo(WeightTransferInitInfo):
    """What an engine needs to join a group; its rank 0 becomes `rank_offset`."""

    master_address: str
    master_port: int
    rank_offset: int
    world_size: int
    bucket_bytes: int
    timeout_s: float


@dataclass(kw_only=True)
class GlooUpdateInfo(WeightTransferUpdateInfo):
    """The tensors of an update in the order in which they are sent, all at once."""

    names: list[str]
    dtype_names: list[str]
    shapes: list[list[int]]
    is_whole: bool
    """Whether every parameter of the model follows."""

    def metas(self) -> list[ParamMeta]:
        rows = zip(self.names, self.dtype_names, self.shapes, strict=True)
        return [ParamMeta(name, getattr(torch, dtype), tuple(shape)) for name, dtype, shape in rows]


class GlooWeightTransferEngine(WeightTransferEngine[GlooInitInfo, GlooUpdateInfo]):
    """Receives weights in checkpoint format and loads them, layer by layer where vLLM converts them.

    Weights that do not come stay as they are. After an update that failed, some layers are new and some old.
    """

    init_info_cls = GlooInitInfo
    update_info_cls = GlooUpdateInfo

    _group: GlooGroup | None = None
    _bucket_bytes = 0

    def init_transfer_engine(self, init_info: GlooInitInfo) -> None:
        self.shutdown()
        parallel = self.parallel_config
        rank = init_info.rank_offset + parallel.data_parallel_index * parallel.world_size + parallel.rank
        address, timeout = init_info.master_address, timedelta(seconds=init_info.timeout_s)
        try:
            store = dist.TCPStore(address, init_info.master_port, is_master=False, timeout=timeout)
        except RuntimeError as error:
            raise TransferError(f"no weight sender at {address}:{init_info.master_port}: {error}") from error
        self._group = GlooGroup(store, address, rank, init_info.world_size, init_info.timeout_s)
        self._bucket_bytes = init_info.bucket_bytes

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)
        for layer in self.model.modules():
            if get_layerwise_info(layer).can_load() and not _is_processed(layer):
                _load_in_place(layer)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        # Not the base class's, which synchronises an accelerator: gloo has filled CPU memory when it returns.
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: GlooUpdateInfo) -> None:
        try:
            self._receive(update_info.metas(), update_info.is_whole)
        except BaseException:
            self.shutdown()
            abandon_reload(self.model, self.model_config)
            raise

    def _receive(self, metas: Sequence[ParamMeta], is_whole: bool) -> None:
        if self._group is None:
            raise TransferError("this engine belongs to no transfer group; init_transfer_engine comes first")
        wanted = {name for name, _ in self.model.named_parameters()}
        loaded: set[str] = set()
        for bucket, buffer in self._arrivals(self._group, plan_buckets(metas, self._bucket_bytes)):
            loaded |= self.model.load_weights((slot.meta.name, slot.view(buffer)) for slot in bucket.slots)
        if is_whole and (missing := sorted(wanted - loaded)):
            raise IncompleteUpdateError(f"the update left {len(missing)} parameters as they were: {missing[:5]}")

    @staticmethod
    def _arrivals(group: GlooGroup, buckets: Iterable[Bucket]) -> Iterator[FilledBucket]:
        """Buckets as they arrive; the next ones travel while one is loaded."""
        awaited: deque[FilledBucket] = deque()
        for bucket in buckets:
            # A new buffer each time: the reload keeps views of it until the layer they belong to is complete.
            awaited.append((bucket, torch.empty(bucket.num_bytes, dtype=torch.uint8)))
            group.start(awaited[-1][1])
            if len(awaited) > AHEAD:
                group.finish(left=AHEAD)
                yield awaited.popleft()
        while awaited:
            group.finish(left=len(awaited) - 1)
            yield awaited.popleft()

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        if self._group is not None:
            self._group.close()
            self._group = None


def _load_in_place(layer: nn.Module) -> None:
    """Undo a layer's part of `initialize_layerwise_reload`: one copy instead of two, and no counting of what came."""
    info = get_layerwise_info(layer)
    _place_kernel_tensors(layer, info)
    for tensor in get_layer_tensors(layer).values():
        tensor.weight_loader = _get_original_loader(tensor)  # a bias was not stored away, but its loader was wrapped
    info.reset()


def _is_processed(layer: nn.Module) -> bool:
    """Whether vLLM converts its weights once they are loaded (packs, quantises, scales them)."""
    return isinstance(getattr(layer, "quant_method", None), QuantizeMethodBase) or is_deferred_attention_layer(layer)


# --- trainer side -----------------------------------------------------------------------------------------------------


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
            source = PackedSource(source, init_info.bucket_bytes, is_sender=init_info.is_sender)
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
            is_whole=not self._client.update.left_out,
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
