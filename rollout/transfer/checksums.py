"""Checksums that verify a push: of tensors as the sender has them, and as the engine's model is handed them.

Because they are taken where the model receives its weights, they are the same for every transport.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from blake3 import blake3
from torch import Tensor

Weights = Iterable[tuple[str, Tensor]]


def tensor_checksum(tensor: Tensor) -> str:
    """BLAKE3 (hexadecimal) of a tensor's bytes in row-major order; neither shape nor dtype are part of it.

    Engines wait for it, and it is three to four times as fast as SHA-256 on one core. Tensors of a GPU are hashed on
    all cores, which have nothing to do meanwhile: on one core that was most of a push inside a card. CPU engines are
    bound to cores of their own.
    """
    flat = tensor.detach().contiguous().cpu().view(-1).view(torch.uint8)
    return blake3(flat.numpy().data, max_threads=blake3.AUTO if tensor.is_cuda else 1).hexdigest()


class ReceivedChecksums:
    """Hashes chosen tensors on their way into a model's `load_weights`."""

    def __init__(self, model: Any) -> None:
        """
        Args:
            model: one of vLLM's, or anything with `load_weights`.
        """
        self.found: dict[str, str] = {}
        """Checksums of the latest update, by the sender's names."""
        self._names: frozenset[str] = frozenset()
        self._load: Callable[[Weights], Any] = model.load_weights
        # On this object alone: other models of its class stay unchanged.
        model.load_weights = self._hash_and_load

    def expect(self, names: Iterable[str]) -> None:
        """Forget earlier checksums, and hash the tensors of these names from now on."""
        self.found.clear()
        self._names = frozenset(names)

    def _hash_and_load(self, weights: Weights) -> Any:
        return self._load(self._hashed(weights))

    def _hashed(self, weights: Weights) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in weights:
            if name in self._names:
                self.found[name] = tensor_checksum(tensor)
            yield name, tensor
