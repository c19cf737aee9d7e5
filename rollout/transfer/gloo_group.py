"""The group that carries the buckets of the gloo backend; both of its ends use it."""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist
from jaxtyping import UInt8
from torch import Tensor

from rollout.errors import TransferError

T = TypeVar("T")

# Broadcasts in flight beyond the one that is waited for: their bytes are there when they are needed, and a process that
# has to wait for a core does not delay the others.
AHEAD = 2
# Seconds between two looks at a waiting broadcast.
_POLL_S = 0.0002


class GlooGroup:
    """One sender (rank 0) and its receivers.

    Raises:
        TransferError: not all members joined within the deadline, or later a broadcast failed or exceeded it.
    """

    def __init__(self, store: dist.Store, address: str, rank: int, world_size: int, timeout_s: float) -> None:
        self._timeout = timedelta(seconds=timeout_s)
        self._place = f"rank {rank} of {world_size}, sender at {address}"
        gloo: Any = dist.ProcessGroupGloo  # torch's type stubs lack most of it
        options = gloo._Options()
        options._timeout = self._timeout
        # gloo's default device is the address that the host name resolves to, often 127.0.1.1: name a routed one.
        options._devices = [gloo.create_device(hostname=_own_address(address))]
        try:
            # A list, so that `close` can drop the last reference.
            self._groups = [gloo(store, rank, world_size, options)]
        except RuntimeError as error:
            raise TransferError(f"no gloo group within {timeout_s:g} s ({self._place}): {error}") from error
        self._store = store
        # Kept only here: a broadcast keeps the connections open, and a traceback would keep a local variable alive.
        self._under_way: deque[Any] = deque()

    def start(self, buffer: UInt8[Tensor, " bytes"]) -> None:
        """Begin to fill every receiver's `buffer` with the sender's.

        All members give the same sizes in the same order, or gloo ends the process. The buffer may be used once
        `finish` has waited for it.
        """
        self._under_way.append(self._groups[0].broadcast(buffer, 0))

    def finish(self, left: int = 0, check: Callable[[], object] | None = None) -> None:
        """Wait, in the order they were begun, until only `left` broadcasts are in flight.

        Args:
            left: how many may remain.
            check: called repeatedly while waiting; an error that it raises ends the wait.
        """
        while len(self._under_way) > left:
            try:
                while check is not None and not self._under_way[0].is_completed():
                    check()
                    time.sleep(_POLL_S)
                self._under_way[0].wait(self._timeout)
            except TransferError:
                raise
            except RuntimeError as error:
                raise TransferError(f"gloo broadcast failed ({self._place}): {error}") from error
            finally:
                self._under_way.popleft()

    def broadcast(self, buffer: UInt8[Tensor, " bytes"]) -> None:
        """Fill every receiver's `buffer` with the sender's, and wait for it."""
        self.start(buffer)
        self.finish()

    def close(self) -> None:
        """Break the connections, so that the other members notice at once (gloo's own `abort` does nothing).

        In the background, because it lasts until a broadcast in flight has reached its deadline.
        """

        def let_go() -> None:
            self._under_way.clear()
            self._groups.clear()

        in_background(let_go)


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
