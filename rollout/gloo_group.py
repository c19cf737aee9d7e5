"""What both ends of the gloo backend share: how tensors are packed into buckets, and the group that carries them."""

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Set
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import UInt8
from torch import Tensor
from vllm.distributed.weight_transfer.base import ParamMeta

from rollout.errors import TransferError

T = TypeVar("T")

# How often a waiting broadcast is looked at.
_POLL_S = 0.0002
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

    def digest(self, buffer: UInt8[Tensor, " bytes"]) -> str:
        """SHA-256 of the tensor inside `buffer`."""
        return hashlib.sha256(buffer[self.offset : self.offset + self.num_bytes].numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class Bucket:
    """Tensors that travel in one broadcast of `num_bytes`."""

    slots: tuple[Slot, ...]
    num_bytes: int

    def digests(self, buffer: UInt8[Tensor, " bytes"], names: Set[str]) -> dict[str, str]:
        """SHA-256 by name of those tensors inside `buffer` that are among `names`."""
        return {slot.meta.name: slot.digest(buffer) for slot in self.slots if slot.meta.name in names}


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


class GlooGroup:
    """One sender (rank 0) and its receivers.

    Raises:
        TransferError: not all members came within the deadline, or later a broadcast failed or passed it.
    """

    def __init__(self, store: dist.Store, address: str, rank: int, world_size: int, timeout_s: float) -> None:
        self._timeout = timedelta(seconds=timeout_s)
        self._place = f"rank {rank} of {world_size}, sender at {address}"
        gloo: Any = dist.ProcessGroupGloo  # torch's type stubs lack most of it
        options = gloo._Options()
        options._timeout = self._timeout
        # gloo's default device is whatever the host name resolves to, often 127.0.1.1: name the address that routes.
        options._devices = [gloo.create_device(hostname=_own_address(address))]
        try:
            # A list, so that `close` can take the last reference away from everyone.
            self._groups = [gloo(store, rank, world_size, options)]
        except RuntimeError as error:
            raise TransferError(f"no gloo group within {timeout_s:g} s ({self._place}): {error}") from error
        self._store = store

    def broadcast(self, buffer: UInt8[Tensor, " bytes"], check: Callable[[], object] = lambda: None) -> None:
        """Fill every receiver's `buffer` with the sender's; all must give the same size, or gloo ends the process.

        Args:
            check: called again and again while waiting; what it raises ends the wait.
        """
        work = self._groups[0].broadcast(buffer, 0)
        try:
            while not work.is_completed():
                check()
                time.sleep(_POLL_S)
            work.wait(self._timeout)
        except TransferError:
            raise
        except RuntimeError as error:
            raise TransferError(f"gloo broadcast of {buffer.numel()} bytes failed ({self._place}): {error}") from error
        finally:
            # It keeps the connections open, and a traceback would keep it.
            del work

    def close(self) -> None:
        """Break the connections, so that the other members notice at once (gloo's own `abort` does nothing).

        In the background: it lasts until a broadcast that is under way has met its deadline.
        """
        in_background(self._groups.clear)


def _own_address(peer: str) -> str:
    """The address of the interface that reaches `peer`."""
    family, _, _, _, target = socket.getaddrinfo(peer, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(target)  # a datagram socket: nothing is sent
        return probe.getsockname()[0]


def in_background(call: Callable[..., T], *args: object) -> Future[T]:
    """Run `call` on a daemon thread: unlike an executor's, it cannot keep a process from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=f"transfer-{getattr(call, '__name__', 'call')}", daemon=True).start()
    return future
