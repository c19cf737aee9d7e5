"""The learner's weights as vLLM's weight transfer wants them, right under every ZeRO stage."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

from learner.whole_weights import OutgoingWeight, full_numel, full_shape, outgoing_weights, whole_weights


class DeepSpeedWeightSource(WeightSource):
    """The weights of a Hugging Face VLM that DeepSpeed trains, whole, one by one, in the order of `metadata()`.

    Adapters (LoRA) come merged into the matrices that they belong to, under the names that these have without them. A
    tied `lm_head.weight` is sent by name: vLLM's layerwise reload keeps the old head otherwise. Iterating is a
    collective under ZeRO-3, see `whole_weights`. Under ZeRO 0 to 2 the tensors that it yields may share memory with the
    model, so the next optimiser step must wait until they are sent.
    """

    def __init__(
        self,
        vlm: nn.Module,
        wire_dtype: torch.dtype,
        bucket_bytes: int = 256 * 2**20,
        only_trained: bool = False,
    ) -> None:
        """
        Args:
            vlm: the module under `Policy.vlm`, whose names vLLM's `load_weights` knows.
            wire_dtype: the number format in which weights are sent; the engine's own saves a conversion.
            bucket_bytes: how much is gathered at once under ZeRO-3; a larger weight is gathered alone.
            only_trained: without the frozen weights.
        """
        self._vlm = vlm
        self._all = outgoing_weights(vlm)
        self._only_trained = only_trained
        self._wire_dtype = wire_dtype
        self._bucket_bytes = bucket_bytes

    def trained(self) -> "DeepSpeedWeightSource":
        """The same model's weights without those that are frozen."""
        return DeepSpeedWeightSource(self._vlm, self._wire_dtype, self._bucket_bytes, only_trained=True)

    @property
    def _weights(self) -> list[OutgoingWeight]:
        return [weight for weight in self._all if weight.is_trained or not self._only_trained]

    @property
    def unchanged(self) -> dict[str, int]:
        """Number of elements, by name, of each weight that is not sent because it is frozen."""
        sent = {weight.name for weight in self._weights}
        return {weight.name: full_numel(weight.parameter) for weight in self._all if weight.name not in sent}

    def metadata(self) -> list[ParamMeta]:
        return [ParamMeta(weight.name, self._wire_dtype, full_shape(weight.parameter)) for weight in self._weights]

    @property
    def num_bytes(self) -> int:
        """Size of what one pass sends."""
        return sum(full_numel(weight.parameter) for weight in self._weights) * self._wire_dtype.itemsize

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return whole_weights(self._weights, self._wire_dtype, self._bucket_bytes)
