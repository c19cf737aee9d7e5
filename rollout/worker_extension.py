"""Methods that vLLM's worker processes get for weight updates and for sleep between them: report checksums, give an
update up, keep what sleep would lose."""

from typing import Any

import torch

from rollout.beside_weights import BesideWeights, Span
from rollout.transfer.checksums import ReceivedChecksums


class TransferWorkerExtension:
    """Mixed into vLLM's worker, so that an engine can report what it received, give up an update, and sleep.

    vLLM's own checksums name its fused parameters rather than the sender's, and miss linear layers on CPU: their
    weights are repacked into an opaque object, and the parameter that is hashed is left empty.
    """

    weight_transfer_engine: Any
    vllm_config: Any
    _weight_update_active: bool
    _received: ReceivedChecksums | None = None
    _beside_weights: BesideWeights | None = None

    def expect_checksums(self, names: list[str]) -> None:
        """Choose the tensors to hash; call it before an update."""
        if self._received is None:
            self._received = ReceivedChecksums(self.weight_transfer_engine.model)
        self._received.expect(names)

    def received_checksums(self) -> dict[str, str]:
        """BLAKE3 by name of those tensors that the latest update has brought."""
        return {} if self._received is None else dict(self._received.found)

    def abandon_update(self) -> None:
        """Give up an update that was begun, however far it came on this rank; does nothing if there is none.

        vLLM has no such call: an update that failed on the way to its workers stays open on them, and one that failed
        on a rank leaves half-loaded layers there.
        """
        from vllm.config import set_current_vllm_config

        from rollout.transfer.reload import abandon_reload

        engine = self.weight_transfer_engine
        with set_current_vllm_config(self.vllm_config):
            engine.reset_weight_update_target()
            abandon_reload(engine.model, engine.model_config)
        self._weight_update_active = False

    def free_bytes(self) -> int:
        """Memory of this rank's GPU that nobody has."""
        return int(torch.cuda.mem_get_info()[0])

    def keep_beside_weights(self) -> int:
        """Before sleep at level 2: copy to the host what would be lost and no update brings; returns its bytes."""
        if self._beside_weights is None:
            self._beside_weights = BesideWeights(self.weight_transfer_engine.model)
        return self._beside_weights.keep(self._memory_of_weights())

    def put_back_beside_weights(self) -> None:
        """After waking for weights."""
        assert self._beside_weights is not None
        self._beside_weights.put_back()

    def _memory_of_weights(self) -> list[Span]:
        """What level 2 drops: vLLM loads a model into memory that it gives back and takes piece by piece."""
        from vllm.device_allocator.cumem import CuMemAllocator

        pieces = CuMemAllocator.get_instance().pointer_to_data
        return [(start, start + data.handle[1]) for start, data in pieces.items() if data.tag == "weights"]
