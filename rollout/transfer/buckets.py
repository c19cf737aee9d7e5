"""How the weights of a push are packed: tensors in order, in buckets that travel whole, filled before the push if told.

Both ends derive the layout from the same metadata.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import UInt8
from torch import Tensor
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

from rollout.transfer.checksums import tensor_checksum

# Offsets of tensors in a bucket, so that a view of any number format is aligned.
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
    """What keeps a bucket's bytes right between whoever fills it and whoever reads it."""

    def filled(self) -> None:
        """A bucket is full: return once its bytes are there for every reader."""

    def handed_out(self, tensor: Tensor) -> None:
        """The present reader is given a part of a bucket, and may still read it after it was let go of."""


class CudaOrder:
    """Order on a GPU, where copies only queue up on the stream that is current.

    vLLM's NCCL sender alternates between streams and takes tensors on each, so a bucket that was filled on one stream
    is read on another, and its memory would be given to the next bucket while a copy out of it still waits.
    """

    def filled(self) -> None:
        torch.cuda.current_stream().synchronize()

    def handed_out(self, tensor: Tensor) -> None:
        tensor.record_stream(torch.cuda.current_stream())


class PackedSource(WeightSource):
    """Another source's weights in buckets, of which the first may be filled before the push that sends them.

    What a push then waits for is the transfer alone: weights were gathered, converted, copied and hashed before. It
    reads the same for every backend; one that sends buckets as they are takes them from `buckets()`.
    """

    def __init__(
        self,
        source: WeightSource,
        bucket_bytes: int,
        device: torch.device | str = "cpu",
        is_sender: bool = True,
        order: BucketOrder | None = None,
    ) -> None:
        """
        Args:
            source: where the weights come from. Iterating it may be a collective, so every learner rank packs.
            bucket_bytes: of one bucket, or of a single tensor that is larger.
            device: where buckets are filled.
            is_sender: whether this rank sends; another one keeps nothing of what it gathers.
            order: None: what `device` needs, which is nothing on a CPU.
        """
        self.bucket_bytes = bucket_bytes
        self.hash_every = 1
        """One tensor in so many is hashed, on the CPU wherever it lies: 1 hashes all, 0 none."""
        self.hash_turn = 0
        """Which of them; counting it up brings every tensor's turn."""
        self.checksums: dict[str, str] = {}
        """BLAKE3 of the tensors that the latest pass hashed: what engines should receive."""
        self._source = source
        self._device = device
        self._is_sender = is_sender
        self._order = CudaOrder() if order is None and torch.device(device).type == "cuda" else order
        self._filled: deque[FilledBucket] = deque()
        self._rest: Iterator[FilledBucket] | None = None

    def metadata(self) -> list[ParamMeta]:
        return self._source.metadata()

    @property
    def hashed(self) -> set[str]:
        """Names of the tensors that a pass hashes now."""
        if not self.hash_every:
            return set()
        return {meta.name for meta in self.metadata()[self.hash_turn % self.hash_every :: self.hash_every]}

    def pack(self, max_bytes: int) -> int:
        """Begin a pass: fill the first buckets, as many as `max_bytes` hold; the next iteration goes on from there.

        On every learner rank, with the same weights until that iteration has ended. A pass that was begun and not
        sent is given up.

        Returns:
            bytes that lie ready.
        """
        self._filled.clear()
        self._rest = self._fill()
        num_bytes = 0
        for bucket in plan_buckets(self.metadata(), self.bucket_bytes):
            if num_bytes + bucket.num_bytes > max_bytes:
                break
            num_bytes += bucket.num_bytes
            filled = next(self._rest)
            if self._is_sender:
                self._filled.append(filled)
        return num_bytes

    def buckets(self) -> Iterator[FilledBucket]:
        """The packed ones, each let go as the next is taken, then the others as they are filled."""
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

    def _fill(self) -> Iterator[FilledBucket]:
        """
        Raises:
            ValueError: the source yields something else than its metadata says.
        """
        self.checksums.clear()
        weights, hashed = iter(self._source), self.hashed
        for bucket in plan_buckets(self.metadata(), self.bucket_bytes):
            buffer = torch.empty(bucket.num_bytes, dtype=torch.uint8, device=self._device)
            for slot in bucket.slots:
                name, tensor = next(weights, ("nothing", torch.empty(0)))
                found = ParamMeta(name, tensor.dtype, tuple(tensor.shape))
                if found != slot.meta:
                    raise ValueError(f"the weight source declared {slot.meta}, but yields {found}")
                slot.view(buffer).copy_(tensor.detach())
            if hashed and self._is_sender:
                self.checksums.update(bucket.checksums(buffer, hashed))
            if self._order is not None:
                self._order.filled()
            yield bucket, buffer
