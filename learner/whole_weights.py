"""Gathers whole weights from a module that DeepSpeed may have partitioned over ranks (ZeRO-3)."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

NamedWeights = list[tuple[str, nn.Parameter]]


def named_weights(vlm: nn.Module) -> NamedWeights:
    """Every weight under each of its names: a tied `lm_head.weight` is listed beside the embeddings."""
    return list(vlm.named_parameters(remove_duplicate=False))


def full_shape(parameter: nn.Parameter) -> tuple[int, ...]:
    """The shape of the whole parameter; ZeRO-3 leaves 0 elements in the parameter itself."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def full_numel(parameter: nn.Parameter) -> int:
    """The number of elements of the whole parameter, see `full_shape`."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def whole_weights(weights: NamedWeights, dtype: torch.dtype | None, bucket_bytes: int) -> Iterator[tuple[str, Tensor]]:
    """Yield each weight whole and in order, on the model's device.

    A collective under ZeRO-3: all ranks must iterate together and to the end. Those tensors are copies; under ZeRO 0
    to 2 a tensor may share memory with the model.

    Args:
        weights: as `named_weights` gives them.
        dtype: number format to convert to; None keeps each weight's own.
        bucket_bytes: how much is gathered at once under ZeRO-3; a larger weight is gathered alone.
    """
    for bucket in _buckets(weights, dtype, bucket_bytes):
        yield from _materialize(bucket, dtype)


def _buckets(weights: NamedWeights, dtype: torch.dtype | None, bucket_bytes: int) -> Iterator[NamedWeights]:
    bucket: NamedWeights = []
    size = 0
    for name, parameter in weights:
        num_bytes = full_numel(parameter) * (dtype or parameter.dtype).itemsize
        if bucket and size + num_bytes > bucket_bytes:
            yield bucket
            bucket, size = [], 0
        bucket.append((name, parameter))
        size += num_bytes
    if bucket:
        yield bucket


def _materialize(bucket: NamedWeights, dtype: torch.dtype | None) -> list[tuple[str, Tensor]]:
    partitioned = [parameter for _, parameter in bucket if hasattr(parameter, "ds_id")]
    if not partitioned:
        return [(name, parameter.detach().to(dtype or parameter.dtype)) for name, parameter in bucket]
    import deepspeed

    # Copied before the gather closes, which frees the memory; yielded after it, because gathers must not be nested.
    with deepspeed.zero.GatheredParameters(partitioned):
        return [(name, parameter.detach().to(dtype or parameter.dtype, copy=True)) for name, parameter in bucket]
