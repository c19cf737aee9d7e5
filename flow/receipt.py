"""What the learner says it sent in a weight push."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PushReceipt:
    """One push, from the sender's side.

    Example: `PushReceipt(num_bytes=4_300_000_000, checksums={"lm_head.weight": "2351207d…"})`.
    """

    num_bytes: int
    checksums: Mapping[str, str]
    """BLAKE3 by name of the tensors that this push is verified by. Engines must report the same. Empty on learner
    ranks that do not send."""
