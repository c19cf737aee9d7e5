"""Memory of a device that is given back for a while, with what was in it kept in host memory.

Storages are emptied rather than tensors moved: every tensor, view and flat partition that DeepSpeed has linked to one
another stays as it is, and finds its numbers again when the storage is filled. DeepSpeed's own `offload_states` is not
used: it knows neither ZeRO 0 nor the optimiser that it takes for bfloat16 at ZeRO 1, under ZeRO 3 it wants its own
compiled Adam, and it pins new host memory each time.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Smaller pieces are pinned by PyTorch, which rounds them up to a power of two; larger ones exactly.
_PIN_WHOLE = 2**20


class HostMemory:
    """Keeps some tensors in host memory while their device is another's.

    Args:
        find: the tensors; asked each time, because optimisers make their state when they first step.
        is_constant: whether their values never change, so that they are copied to the host only once.
    """

    def __init__(self, find: Callable[[], Iterable[Tensor]], is_constant: bool = False) -> None:
        self._find = find
        self._is_constant = is_constant
        self._copies: list[Tensor] = []
        """Bytes of each storage that was away; kept from turn to turn, because to pin memory takes seconds."""
        self._away: list[tuple[torch.UntypedStorage, Tensor]] = []
        self._tensors: list[Tensor] = []

    @property
    def is_away(self) -> bool:
        """Whether the tensors are in host memory, and cannot be computed with."""
        return bool(self._away)

    @property
    def num_bytes(self) -> int:
        """Size of what is away."""
        return sum(copy.numel() for _, copy in self._away)

    def put_away(self) -> None:
        """Copy the tensors to host memory, and give their device's memory back. A second call does nothing."""
        if self.is_away:
            return
        # What lies in a mapped file, as weights on CPUs may, takes no memory of its own.
        self._tensors = [tensor for tensor in self._find() if tensor.untyped_storage().resizable()]
        # By address, because several tensors may share a storage.
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in self._tensors}
        _wait()
        spare, self._copies = self._copies, []
        for storage in storages.values():
            copy, is_new = _copy_for(storage, spare)
            if is_new or not self._is_constant:
                copy.copy_(_bytes_of(storage), non_blocking=True)
            self._copies.append(copy)
            self._away.append((storage, copy))
        for copy in spare:
            _unpin(copy)
        _wait()
        for storage, _ in self._away:
            storage.resize_(0)

    def fetch(self) -> None:
        """Bring them back to where they were. Does nothing if they are there."""
        for storage, copy in self._away:
            storage.resize_(copy.numel())
            _bytes_of(storage).copy_(copy, non_blocking=True)
        _wait()
        self._away, self._tensors = [], []

    def close(self) -> None:
        """Give the host's memory back; what is away is lost."""
        for copy in self._copies:
            _unpin(copy)
        self._copies, self._away, self._tensors = [], [], []

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Inside the block the tensors that are away can be read, on the host; for checkpoints."""
        copies = dict(self._by_storage())
        empty = [(tensor, tensor.detach()) for tensor in self._tensors]
        for tensor in self._tensors:
            copy = copies[tensor.untyped_storage()._cdata].view(tensor.dtype)
            tensor.data = copy.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())
        try:
            yield
        finally:
            for tensor, emptied in empty:
                tensor.data = emptied

    def _by_storage(self) -> Iterator[tuple[int, Tensor]]:
        return ((storage._cdata, copy) for storage, copy in self._away)


def optimizer_tensors(engine: Any) -> list[Tensor]:
    """What DeepSpeed keeps on the device for the optimiser: float32 masters, moments, gradients. Never a weight.

    Args:
        engine: the DeepSpeed engine, at any ZeRO stage.
    """
    zero = engine.optimizer
    inner = getattr(zero, "optimizer", zero)
    gradients = [parameter.grad for parameter in engine.module.parameters()]
    held = [*_tensors_in(vars(zero)), *_tensors_in(gradients), *_tensors_in(inner.state)]
    held += [tensor.grad for tensor in held if tensor.is_leaf and tensor.grad is not None]
    weights = {tensor.untyped_storage().data_ptr() for tensor in module_tensors(engine.module)}
    device = torch.device(engine.device)
    found = {
        id(tensor): tensor
        for tensor in held
        if tensor.device.type == device.type and tensor.untyped_storage().data_ptr() not in weights | {0}
    }
    return list(found.values())


def module_tensors(module: nn.Module) -> list[Tensor]:
    """A module's weights and buffers; under ZeRO-3 this rank's pieces of them."""
    weights = [getattr(parameter, "ds_tensor", parameter) for parameter in module.parameters()]
    return [tensor for tensor in (*weights, *module.buffers()) if tensor.untyped_storage().nbytes()]


def release_cache() -> None:
    """Give memory that PyTorch keeps for later back to the device, for other processes."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _tensors_in(held: object) -> Iterator[Tensor]:
    """The tensors in containers within containers."""
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, dict):
        for key, value in held.items():
            yield from _tensors_in(key)  # an optimiser's state has its parameters as keys
            yield from _tensors_in(value)
    elif isinstance(held, list | tuple):
        for value in held:
            yield from _tensors_in(value)


def _copy_for(storage: torch.UntypedStorage, spare: list[Tensor]) -> tuple[Tensor, bool]:
    """Host memory of a storage's size, and whether it is new; else it is taken from `spare`."""
    for index, copy in enumerate(spare):
        if copy.numel() == storage.nbytes():
            return spare.pop(index), False
    return _host_bytes(storage.nbytes(), is_pinned=storage.device.type == "cuda"), True


def _bytes_of(storage: torch.UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _host_bytes(num_bytes: int, is_pinned: bool) -> Tensor:
    if not is_pinned or num_bytes < _PIN_WHOLE:
        return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=is_pinned)
    memory = torch.empty(num_bytes, dtype=torch.uint8)
    torch.cuda.check_error(torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), num_bytes, 0))
    return memory


def _unpin(memory: Tensor) -> None:
    if memory.numel() >= _PIN_WHOLE and memory.is_pinned():
        torch.cuda.check_error(torch.cuda.cudart().cudaHostUnregister(memory.data_ptr()))


def _wait() -> None:
    """Until the device has done all that it was asked to, on any stream."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
