"""Tensors that lie among an engine's weights and are none: vLLM's sleep at level 2 loses them.

vLLM brings back parameters (by the next push) and registered buffers. Models hold more: Qwen3-VL's image features of
each layer (DeepStack) are a plain list of tensors, read at every step whether an image wrote to them or not. What is
left in them after sleep would be added to hidden states.
"""

import gc
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

Span = tuple[int, int]
"""Addresses from and up to."""


class BesideWeights:
    """Keeps the values of such tensors while their memory is gone.

    Args:
        model: whose parameters and buffers others look after.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._storages: list[torch.UntypedStorage] | None = None
        self._copies: list[Tensor] = []

    def keep(self, spans: Sequence[Span]) -> int:
        """Copy them to the host; returns their number of bytes.

        Args:
            spans: the memory that will be lost.
        """
        if self._storages is None:
            # They are made while the model loads, and a search takes a while: once.
            self._storages = storages_in(spans, apart_from=(*self._model.parameters(), *self._model.buffers()))
        self._copies = [_bytes_of(storage).to("cpu", copy=True) for storage in self._storages]
        return sum(copy.numel() for copy in self._copies)

    def put_back(self) -> None:
        """Write the copies to where the tensors were."""
        for storage, copy in zip(self._storages or (), self._copies, strict=True):
            _bytes_of(storage).copy_(copy)
        self._copies = []


def storages_in(spans: Sequence[Span], apart_from: Iterable[Tensor]) -> list[torch.UntypedStorage]:
    """The memory of every tensor of this process that begins in one of the spans, whoever holds it."""
    known = {tensor.untyped_storage().data_ptr() for tensor in apart_from}
    found: dict[int, torch.UntypedStorage] = {}
    for thing in _objects():
        # By type: `isinstance` would ask the thing itself, and some answer with an error. Subclasses are weights.
        if type(thing) is Tensor and thing.layout is torch.strided:
            storage = thing.untyped_storage()
            address = storage.data_ptr()
            if address not in known and any(start <= address < end for start, end in spans):
                found[address] = storage
    return list(found.values())


def _objects() -> list[object]:
    """What Python's collector knows of. vLLM takes all that it has loaded out of the collector's sight."""
    is_hidden = gc.get_freeze_count() > 0
    gc.unfreeze()
    objects = gc.get_objects()
    if is_hidden:
        gc.freeze()
    return objects


def _bytes_of(storage: torch.UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
