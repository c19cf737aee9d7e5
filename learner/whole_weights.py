"""Gathers whole weights from a module that DeepSpeed may have partitioned over ranks (ZeRO-3)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from learner.adapters import Adapter, adapters_of, outgoing_name

NamedWeights = list[tuple[str, nn.Parameter]]


@dataclass(frozen=True)
class OutgoingWeight:
    """A weight as engines and exports know it."""

    name: str
    parameter: nn.Parameter
    """The weight itself, or the frozen matrix that an adapter is merged with."""
    adapter: Adapter | None
    """What is trained beside the matrix, if it is adapted."""

    @property
    def is_trained(self) -> bool:
        """Whether it changes during training."""
        return self.parameter.requires_grad or self.adapter is not None

    @property
    def sources(self) -> list[nn.Parameter]:
        """The parameters that it is made of."""
        return [self.parameter, *((self.adapter.down, self.adapter.up) if self.adapter else ())]

    def value(self, dtype: torch.dtype | None, copy: bool = False) -> Tensor:
        """The weight, merged with its adapter. Its sources must be gathered.

        Args:
            dtype: number format to convert to; None keeps its own.
            copy: never share memory with the model.
        """
        dtype = dtype or self.parameter.dtype
        if self.adapter is not None:
            return self.adapter.merged_with(self.parameter, dtype)
        return self.parameter.detach().to(dtype, copy=copy)


def named_weights(vlm: nn.Module) -> NamedWeights:
    """Every parameter under each of its names: a tied `lm_head.weight` is listed beside the embeddings."""
    return list(vlm.named_parameters(remove_duplicate=False))


def outgoing_weights(vlm: nn.Module, with_tied: bool = True) -> list[OutgoingWeight]:
    """Every weight as engines and exports know it: adapters are part of the matrices that they belong to.

    Args:
        with_tied: list a tied weight under each of its names, not only under the first.
    """
    adapters = adapters_of(vlm)
    named = vlm.named_parameters(remove_duplicate=not with_tied)
    return [
        OutgoingWeight(outgoing, parameter, adapters.get(id(parameter)))
        for name, parameter in named
        if (outgoing := outgoing_name(name)) is not None
    ]


def full_shape(parameter: nn.Parameter) -> tuple[int, ...]:
    """The shape of the whole parameter; ZeRO-3 leaves 0 elements in the parameter itself."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def full_numel(parameter: nn.Parameter) -> int:
    """The number of elements of the whole parameter, see `full_shape`."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def whole_weights(
    weights: Sequence[OutgoingWeight], dtype: torch.dtype | None, bucket_bytes: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield each weight whole and in order, on the model's device.

    A collective under ZeRO-3: all ranks must iterate together and to the end. Those tensors are copies; under ZeRO 0
    to 2 a tensor may share memory with the model, unless it is merged with an adapter. The model stays as it is.

    Args:
        weights: as `outgoing_weights` gives them.
        dtype: number format to convert to; None keeps each weight's own.
        bucket_bytes: how much is gathered at once under ZeRO-3; a larger weight is gathered alone.
    """
    for bucket in _buckets(weights, dtype, bucket_bytes):
        yield from _materialize(bucket, dtype)


def _buckets(
    weights: Sequence[OutgoingWeight], dtype: torch.dtype | None, bucket_bytes: int
) -> Iterator[list[OutgoingWeight]]:
    bucket: list[OutgoingWeight] = []
    size = 0
    for weight in weights:
        num_bytes = full_numel(weight.parameter) * (dtype or weight.parameter.dtype).itemsize
        if bucket and size + num_bytes > bucket_bytes:
            yield bucket
            bucket, size = [], 0
        bucket.append(weight)
        size += num_bytes
    if bucket:
        yield bucket


def _materialize(bucket: Sequence[OutgoingWeight], dtype: torch.dtype | None) -> Iterator[tuple[str, Tensor]]:
    sources = chain.from_iterable(weight.sources for weight in bucket)
    partitioned = [parameter for parameter in sources if hasattr(parameter, "ds_id")]
    if not partitioned:
        # One by one, because each merged matrix is a new tensor.
        yield from ((weight.name, weight.value(dtype)) for weight in bucket)
        return
    import deepspeed

    # Copied before the gather closes, which frees the memory; yielded after it, because gathers must not be nested.
    with deepspeed.zero.GatheredParameters(partitioned):
        whole = [(weight.name, weight.value(dtype, copy=True)) for weight in bucket]
    yield from whole
