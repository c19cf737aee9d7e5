"""Weight pushes from a learner rank's side: what each push brings, which tensors verify it, and its receipt.

    sender = WeightSender(channel, weights, verify_every=10)    # one for each group of engines
    sender.pack(7); receipt = sender.push(7)                    # on every learner rank, in this order

How bytes travel is the channel's business: `rollout.transfer.channel` has those of the program.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

from flow.receipt import PushReceipt
from learner.weights import DeepSpeedWeightSource


class WeightChannel(Protocol):
    """One learner rank's end of a transfer group. Every rank has one; rank 0's reaches the engines.

    Gathering weights is a collective under ZeRO-3, so every rank makes the same calls in the same order.
    """

    def pack(self, weights: WeightSource, hashed: Collection[str]) -> None:
        """Gather and keep as much of `weights` as there is room for. Engines are not involved yet.

        Args:
            weights: what the next `send` brings. It must not change until then.
            hashed: names of the tensors to compute checksums of.
        """

    def send(self, version: int, unchanged: Mapping[str, int]) -> Mapping[str, str]:
        """Send what was packed and the rest; returns once every engine has put it to use.

        Args:
            version: what engines call these weights from then on.
            unchanged: number of elements, by name, of each weight that is not sent because it has not changed.

        Returns:
            BLAKE3 by name of the hashed tensors; empty on ranks that do not send.

        Raises:
            TransferError: an engine or the connection failed; a new channel is needed.
        """

    def close(self) -> None:
        """Leave the group."""


class WeightSender:
    """Pushes one model's weights to one group of engines.

    The first push brings every weight, because it is not known what the engines hold, and verifies every tensor. Later
    pushes bring the trained weights and verify a share of them, a different one each time.
    """

    def __init__(
        self, channel: WeightChannel, weights: DeepSpeedWeightSource, verify_every: int, always_whole: bool = False
    ) -> None:
        """
        Args:
            channel: to engines whose weights are not known.
            weights: all weights of the model.
            verify_every: a later push compares one tensor in this many by checksum.
            always_whole: whether later pushes too bring every weight, because the engines do not keep them.
        """
        self._channel = channel
        self._weights = weights
        self._verify_every = verify_every
        self._always_whole = always_whole
        self._is_first = True
        self._packed_version: int | None = None

    def pack(self, version: int) -> None:
        """Gather and pack what `push(version)` will send, as much of it as the channel has room for.

        The weights must stay as they are until that push has ended.
        """
        every = 1 if self._is_first else self._verify_every
        self._channel.pack(self._weights, names_to_verify(self._weights.metadata(), every, turn=version))
        self._packed_version = version

    def push(self, version: int) -> PushReceipt:
        """Send what was packed, and the rest of the weights; returns once every engine has taken them.

        Raises:
            TransferError: an engine or the connection failed; a new sender is needed.
        """
        if self._packed_version != version:
            self.pack(version)
        self._packed_version = None
        checksums = self._channel.send(version, self._weights.unchanged)
        receipt = PushReceipt(num_bytes=self._weights.num_bytes, checksums=dict(checksums))
        if self._is_first and not self._always_whole:
            self._weights = self._weights.trained()
        self._is_first = False
        return receipt

    def close(self) -> None:
        """Leave the group of engines."""
        self._channel.close()


def names_to_verify(metas: Collection[ParamMeta], every: int, turn: int) -> set[str]:
    """Names of one tensor in `every`; as `turn` counts up, each tensor has its turn.

    >>> from torch import float32
    >>> sorted(names_to_verify([ParamMeta(name, float32, (1,)) for name in "abcde"], every=2, turn=3))
    ['b', 'd']
    """
    return {meta.name for meta in list(metas)[turn % every :: every]}
