"""What a model computes attention with. Importing this needs no torch; `vlm.packed_rows` has the kernels."""

from dataclasses import dataclass
from typing import Literal

AttentionName = Literal["flash_attention_4", "flash_attention_2", "varlen", "sdpa", "eager"]

KERNEL_PACKAGES: dict[AttentionName, tuple[str, str]] = {
    "flash_attention_4": ("flash-attn-4", "make setup LOCK=gpu"),
    "flash_attention_2": ("flash-attn", "pip install --no-build-isolation -e '.[flash]'"),
}
"""The package that an implementation needs beside PyTorch, and how it is installed."""

WITH_PADDING: tuple[AttentionName, ...] = ("sdpa", "eager")
"""Those that read padded rows; all but "eager" read packed ones."""


@dataclass(frozen=True)
class Attention:
    """What a model computes attention with."""

    text: AttentionName = "sdpa"
    """In the language model."""
    vision: AttentionName = "sdpa"
    """In the vision tower."""
    packed: bool = False
    """Whether rows are packed, so that no padding is computed."""
    reasons: tuple[str, ...] = ()
    """For each faster implementation, what went wrong when it was tried."""

    def __str__(self) -> str:
        rows = "packed" if self.packed else "padded"
        tower = "" if self.vision == self.text else f", {self.vision} in the vision tower"
        return "; ".join([f"{self.text}, rows {rows}{tower}", *self.reasons])


PADDED = Attention()
"""PyTorch's own over padded rows: works everywhere."""
