"""What kinds of GPU can do at most, by name. Importing this needs no torch."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CardKind:
    """A kind of GPU: the peaks that its maker states, without sparsity."""

    words: tuple[str, ...]
    """All of these are in the name that the driver, or Ray, gives it."""
    bf16_tflops: float
    tf32_tflops: float
    """Of float32 matrices on tensor cores. It counts for float32 training whether or not PyTorch may use them."""
    gib: float

    def peak_tflops(self, dtype: Literal["float32", "bfloat16"]) -> float:
        """Of matrix products in this number format."""
        return self.bf16_tflops if dtype == "bfloat16" else self.tf32_tflops


CARDS = (
    # From NVIDIA's data sheets; the first whose words are all in a name counts.
    CardKind(("GB200",), 2500, 1250, 186),
    CardKind(("B200",), 2250, 1125, 180),
    CardKind(("GH200",), 989, 494, 96),
    CardKind(("H200",), 989, 494, 141),
    CardKind(("H100", "PCIE"), 756, 378, 80),
    CardKind(("H100", "NVL"), 835, 418, 94),
    CardKind(("H100",), 989, 494, 80),
    CardKind(("H800",), 989, 494, 80),
    CardKind(("H20",), 148, 74, 96),
    CardKind(("A100", "80G"), 312, 156, 80),
    CardKind(("A100",), 312, 156, 40),
    CardKind(("A800",), 312, 156, 80),
    CardKind(("L40S",), 362, 183, 48),
    CardKind(("L40",), 181, 90, 48),
    CardKind(("L4",), 121, 60, 24),
    CardKind(("A40",), 150, 75, 48),
    CardKind(("A10G",), 70, 35, 24),
    CardKind(("A10",), 125, 62, 24),
    CardKind(("RTX", "5090"), 210, 105, 32),
    CardKind(("RTX", "4090"), 165, 83, 24),
    CardKind(("RTX", "3090"), 71, 36, 24),
    CardKind(("A6000",), 155, 77, 48),
)


def card_kind(name: str) -> CardKind | None:
    """The kind of a card, from its name: "NVIDIA H100 80GB HBM3" or Ray's "A100-80G"; None if it is not known."""
    return next((kind for kind in CARDS if all(word in name.upper() for word in kind.words)), None)
