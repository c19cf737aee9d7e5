"""How the weights of a push are packed: tensors in order, in buckets that travel whole and can be filled in advance.

Both ends derive the layout from the same metadata.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import UInt8
from torch import Tensor
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

from rollout.transfer.checksums import tensor_checksum

# Tensors begin at multiples of this in a bucket, so that a view of any number format is aligned.
_ALIGNMENT_BYTES = 16


@dataclass(frozen=True)
class Slot:
    """A tensor's place in a bucket."""

    meta: ParamMeta
    offset: int
    num_bytes: int

    def view(self, buffer: UInt8[Tensor, " bytes"]) -> Tensor:
        """The tensor inside `buffer`, shaped; no copy."""
        return buffer[self.offset : self.offset + self.num_bytes].view(self.meta.dtype).view(self.meta.shape)


@dataclass(frozen=True)
class Bucket:
    """Tensors that travel together, in `num_bytes`."""

    slots: tuple[Slot, ...]
    num_bytes: int

    def checksums(self, buffer: UInt8[Tensor, " bytes"], names: Set[str]) -> dict[str, str]:
        """BLAKE3 by name of those tensors inside `buffer` that are among `names`."""
        return {slot.meta.name: tensor_checksum(slot.view(buffer)) for slot in self.slots if slot.meta.name in names}


def plan_buckets(metas: Iterable[ParamMeta], bucket_bytes: int) -> list[Bucket]:
    """Pack tensors in order into buckets of at most `bucket_bytes`; a larger tensor gets a bucket of its own."""
    buckets: list[Bucket] = []
    slots: list[Slot] = []
    end = 0
    for meta in metas:
        num_bytes = torch.Size(meta.shape).numel() * meta.dtype.itemsize
        offset = -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        if slots and offset + num_bytes > bucket_bytes:
            buckets.append(Bucket(tuple(slots), end))
            slots, offset = [], 0
        slots.append(Slot(meta, offset, num_bytes))
        end = offset + num_bytes
    if slots:
        buckets.append(Bucket(tuple(slots), end))
    return buckets


FilledBucket = tuple[Bucket, UInt8[Tensor, " bytes"]]


class BucketOrder(Protocol):
    """Keeps a bucket's bytes right between the code that fills it and the code that reads it."""

    def filled(self) -> None:
        """A bucket is full: return once every reader sees its bytes."""

    def handed_out(self, tensor: Tensor) -> None:
        """A reader is given a part of a bucket, and may still read it after the bucket is released."""


class CudaOrder:
    """Order on a GPU, where a copy only joins the queue of the current stream.

    vLLM's NCCL sender alternates between streams. So a bucket that was filled on one stream is read on another, and its
    memory would be given to the next bucket while a copy out of it still waits.
    """

    def filled(self) -> None:
        torch.cuda.current_stream().synchronize()

    def handed_out(self, tensor: Tensor) -> None:
        tensor.record_stream(torch.cuda.current_stream())


class PackedSource(WeightSource):
    """Weights in buckets, of which the first may be filled before the push that sends them.

    A push then waits only for the transfer: weights were gathered, converted, copied and hashed before. Backends read
    it as any other source; one that sends whole buckets takes them from `buckets()`.
    """

    def __init__(
        self,
        source: WeightSource,
        bucket_bytes: int,
        device: torch.device | str = "cpu",
        keeps: bool = True,
        hashes: bool = True,
        order: BucketOrder | None = None,
    ) -> None:
        """
        Args:
            source: where the weights come from, until `pack` names another. Iterating it may be a collective, so every
                learner rank packs.
            bucket_bytes: size of a bucket; a larger tensor gets a bucket of its own size.
            device: where buckets are filled.
            keeps: whether this rank keeps what it gathers, to send or share it.
            hashes: whether it computes checksums.
            order: None takes what `device` needs, which is nothing on a CPU.
        """
        self.bucket_bytes = bucket_bytes
        self.checksums: dict[str, str] = {}
        """BLAKE3 by name of the tensors that the latest pass hashed: what engines should receive."""
        self._source = source
        self._device = device
        self._keeps = keeps
        self._hashes = hashes
        self._order = CudaOrder() if order is None and torch.device(device).type == "cuda" else order
        self._filled: deque[FilledBucket] = deque()
        self._rest: Iterator[FilledBucket] | None = None

    def metadata(self) -> list[ParamMeta]:
        return self._source.metadata()

    def pack(self, max_bytes: int, hashed: Collection[str] = (), source: WeightSource | None = None) -> int:
        """Begin a pass: fill the first buckets, as many as fit into `max_bytes`; the next iteration fills the others.

        Call it on every learner rank, and leave the weights as they are until that iteration has ended. An earlier pass
        that was packed and not sent is dropped.

        Args:
            max_bytes: most bytes to hold ready.
            hashed: names of the tensors to compute checksums of, on the CPU wherever they lie.
            source: where weights come from now on; None keeps the present source.

        Returns:
            bytes that lie ready.
        """
        if source is not None:
            self._source = source
        self._filled.clear()
        self._rest = self._fill(frozenset(hashed))
        num_bytes = 0
        for bucket in plan_buckets(self.metadata(), self.bucket_bytes):
            if num_bytes + bucket.num_bytes > max_bytes:
                break
            num_bytes += bucket.num_bytes
            filled = next(self._rest)
            if self._keeps:
                self._filled.append(filled)
        return num_bytes

    def buckets(self) -> Iterator[FilledBucket]:
        """The packed buckets, each released as the next is taken, then the others as they are filled."""
        if self._rest is None:
            self.pack(0)
        rest, self._rest = self._rest, None
        assert rest is not None
        while self._filled:
            yield self._filled.popleft()
        yield from rest

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for bucket, buffer in self.buckets():
            for slot in bucket.slots:
                tensor = slot.view(buffer)
                if self._order is not None:
                    self._order.handed_out(tensor)
                yield slot.meta.name, tensor

    def _fill(self, hashed: Set[str]) -> Iterator[FilledBucket]:
        """
        Raises:
            ValueError: the source yields something else than its metadata says.
        """
        self.checksums.clear()
        weights = iter(self._source)
        for bucket in plan_buckets(self.metadata(), self.bucket_bytes):
            buffer = torch.empty(bucket.num_bytes, dtype=torch.uint8, device=self._device)
            for slot in bucket.slots:
                name, tensor = next(weights, ("nothing", torch.empty(0)))
                found = ParamMeta(name, tensor.dtype, tuple(tensor.shape))
                if found != slot.meta:
                    raise ValueError(f"the weight source declared {slot.meta}, but yields {found}")
                slot.view(buffer).copy_(tensor.detach())
            if hashed and self._hashes:
                self.checksums.update(bucket.checksums(buffer, hashed))
            if self._order is not None:
                self._order.filled()
            yield bucket, buffer
