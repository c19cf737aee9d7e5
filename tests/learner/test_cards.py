"""The table of cards."""

import pytest

from learner.cards import card_kind


@pytest.mark.parametrize(
    ("name", "bf16", "gib"),
    [
        ("NVIDIA H100 80GB HBM3", 989, 79.6),
        ("NVIDIA H100 PCIe", 756, 79.6),
        ("NVIDIA H200", 989, 139.8),
        ("NVIDIA A100-SXM4-80GB", 312, 80),
        ("NVIDIA A100-PCIE-40GB", 312, 40),
        ("A100-80G", 312, 80),
        ("NVIDIA L40S", 362, 45),
        ("NVIDIA L4", 121, 22.5),
        ("NVIDIA GeForce RTX 4090", 165, 24),
        ("NVIDIA B200", 2250, 180),
    ],
)
def test_a_card_is_known_by_the_name_that_its_driver_or_ray_gives_it(name: str, bf16: float, gib: float) -> None:
    kind = card_kind(name)
    assert kind is not None
    assert (kind.peak_tflops("bfloat16"), kind.gib) == (bf16, gib)
    assert kind.peak_tflops("float32") < kind.peak_tflops("bfloat16")


def test_a_card_that_nobody_has_measured_against_has_no_peak() -> None:
    assert card_kind("Radeon RX 7900") is None
