"""Methods that vLLM's worker processes get for weight updates: report checksums, give an update up."""

from typing import Any

from rollout.transfer.checksums import ReceivedChecksums


class TransferWorkerExtension:
    """Mixed into vLLM's worker, so that an engine can report what it received, and give up an update.

    vLLM's own checksums name its fused parameters rather than the sender's, and miss linear layers on CPU: their
    weights are repacked into an opaque object, and the parameter that is hashed is left empty.
    """

    weight_transfer_engine: Any
    vllm_config: Any
    _weight_update_active: bool
    _received: ReceivedChecksums | None = None

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
