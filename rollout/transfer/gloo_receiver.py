"""The engine's end of the gloo backend, behind vLLM's own interface for weight transfer."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from vllm.distributed.weight_transfer.base import ParamMeta, WeightTransferEngine
from vllm.model_executor.layers.attention import is_deferred_attention_layer
from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.model_executor.model_loader.reload.layerwise import (
    _get_original_loader,
    _place_kernel_tensors,
    get_layer_tensors,
    get_layerwise_info,
)

from rollout.errors import IncompleteUpdateError, TransferError
from rollout.transfer.buckets import Bucket, FilledBucket, plan_buckets
from rollout.transfer.gloo_group import AHEAD, GlooGroup
from rollout.transfer.gloo_messages import GlooInitInfo, GlooUpdateInfo
from rollout.transfer.reload import abandon_reload


class GlooWeightTransferEngine(WeightTransferEngine[GlooInitInfo, GlooUpdateInfo]):
    """Receives weights in the format of a model folder and loads them, layer by layer where vLLM converts them.

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
