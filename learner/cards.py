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
    memory_gb_per_s: float
    """Reading the card's own memory."""
    gib: float
    """As its driver reports it where that is less than its name says: an "H100 80GB" has 79.6."""
    link_gb_per_s: float
    """To another card of the same node, one way: NVLink, or PCIe where it has none."""

    def peak_tflops(self, dtype: Literal["float32", "bfloat16"]) -> float:
        """Of matrix products in this number format."""
        return self.bf16_tflops if dtype == "bfloat16" else self.tf32_tflops


_PCIE_4, _PCIE_5 = 32.0, 64.0

CARDS = (
    # From NVIDIA's data sheets; the first whose words are all in a name counts.
    CardKind(("GB200",), 2500, 1250, 8000, 186, 900),
    CardKind(("B200",), 2250, 1125, 7700, 180, 900),
    CardKind(("GH200",), 989, 494, 4000, 96, 450),
    CardKind(("H200",), 989, 494, 4800, 139.8, 450),
    CardKind(("H100", "PCIE"), 756, 378, 2000, 79.6, _PCIE_5),
    CardKind(("H100", "NVL"), 835, 418, 3900, 94, 300),
    CardKind(("H100",), 989, 494, 3350, 79.6, 450),
    CardKind(("H800",), 989, 494, 3350, 79.6, 200),
    CardKind(("H20",), 148, 74, 4000, 96, 450),
    CardKind(("A100", "80G"), 312, 156, 2000, 80, 300),
    CardKind(("A100",), 312, 156, 1555, 40, 300),
    CardKind(("A800",), 312, 156, 2000, 80, 200),
    CardKind(("L40S",), 362, 183, 864, 45, _PCIE_4),
    CardKind(("L40",), 181, 90, 864, 48, _PCIE_4),
    CardKind(("L4",), 121, 60, 300, 22.5, _PCIE_4),
    CardKind(("A40",), 150, 75, 696, 48, _PCIE_4),
    CardKind(("A10G",), 70, 35, 600, 24, _PCIE_4),
    CardKind(("A10",), 125, 62, 600, 24, _PCIE_4),
    CardKind(("RTX", "5090"), 210, 105, 1790, 32, _PCIE_5),
    CardKind(("RTX", "4090"), 165, 83, 1008, 24, _PCIE_4),
    CardKind(("RTX", "3090"), 71, 36, 936, 24, _PCIE_4),
    CardKind(("A6000",), 155, 77, 768, 48, _PCIE_4),
)


def card_kind(name: str) -> CardKind | None:
    """The kind of a card, from its name: "NVIDIA H100 80GB HBM3" or Ray's "A100-80G"; None if it is not known."""
    return next((kind for kind in CARDS if all(word in name.upper() for word in kind.words)), None)
