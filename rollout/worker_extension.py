"""What vLLM's worker processes can be asked about a weight update, and told to give up."""

from typing import Any

from rollout.transfer.checksums import ReceivedChecksums


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

        from rollout.transfer.reload import abandon_reload

        engine = self.weight_transfer_engine
        with set_current_vllm_config(self.vllm_config):
            engine.reset_weight_update_target()
            abandon_reload(engine.model, engine.model_config)
        self._weight_update_active = False
