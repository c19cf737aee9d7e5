"""What a push is verified by: the bytes of tensors as the sender has them, and as the engine's model is handed them.

Taken at the model's door, they are the same for every transport.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from blake3 import blake3
from torch import Tensor

Weights = Iterable[tuple[str, Tensor]]


def tensor_checksum(tensor: Tensor) -> str:
    """BLAKE3 (hexadecimal) of a tensor's bytes in row-major order; neither shape nor dtype are part of it.

    Three to four times as fast as SHA-256 on one core, and engines wait for it.
    """
    flat = tensor.detach().contiguous().cpu().view(-1).view(torch.uint8)
    return blake3(flat.numpy().data).hexdigest()


class ReceivedChecksums:
    """Hashes chosen tensors on their way into a model's `load_weights`."""

    def __init__(self, model: Any) -> None:
        """
        Args:
            model: one of vLLM's, or anything with `load_weights`.
        """
        self.found: dict[str, str] = {}
        """By the sender's names, of the latest update."""
        self._names: frozenset[str] = frozenset()
        self._load: Callable[[Weights], Any] = model.load_weights
        # On the object alone: other models of its class are as they were.
        model.load_weights = self._hash_and_load

    def expect(self, names: Iterable[str]) -> None:
        """Forget what was found; hash the tensors of these names from now on."""
        self.found.clear()
        self._names = frozenset(names)

    def _hash_and_load(self, weights: Weights) -> Any:
        return self._load(self._hashed(weights))

    def _hashed(self, weights: Weights) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in weights:
            if name in self._names:
                self.found[name] = tensor_checksum(tensor)
            yield name, tensor


class TransferWorkerExtension:
    """Mixed into vLLM's worker, so that an engine can be asked what it received, and told to give an update up.

    vLLM's own checksums name its fused parameters rather than the sender's, and do not see linear layers on CPU: their
    weights are repacked into an opaque object, and the parameter that is hashed is left empty.
    """

    weight_transfer_engine: Any
    vllm_config: Any
    _weight_update_active: bool
    _received: ReceivedChecksums | None = None

    def expect_checksums(self, names: list[str]) -> None:
        """Before an update: the tensors to hash."""
        if self._received is None:
            self._received = ReceivedChecksums(self.weight_transfer_engine.model)
        self._received.expect(names)

    def received_checksums(self) -> dict[str, str]:
        """BLAKE3 by name of those tensors, as far as the latest update brought them."""
        return {} if self._received is None else dict(self._received.found)

    def abandon_update(self) -> None:
        """Give up an update that was begun, however far it came on this rank; nothing where there is none.

        vLLM has no such call: an update that failed on the way to its workers stays open on them, and one that failed
        on a rank leaves half-loaded layers there.
        """
        from vllm.config import set_current_vllm_config

        from rollout.reload import abandon_reload

        engine = self.weight_transfer_engine
        with set_current_vllm_config(self.vllm_config):
            engine.reset_weight_update_target()
            abandon_reload(engine.model, engine.model_config)
        self._weight_update_active = False
