"""Which question the canary asks, when, and how far apart two answers to it are."""

import math

import pytest

from rollout.canary import choose_canary, mean_difference
from rollout.config import CanaryConfig
from spatial.sample import ChoiceAnswer, ImageRef, ReasoningPath, Region, SpatialSample


def sample(name: str, sides_px: tuple[int, ...], question: str, has_region: bool) -> SpatialSample:
    return SpatialSample(
        sample_id=name,
        domain="test",
        kind="depth",
        paths=(ReasoningPath.DTR,),
        images=tuple(ImageRef(sha256="0" * 64, width_px=side, height_px=side) for side in sides_px),
        question=question,
        answer=ChoiceAnswer(letter="A", num_options=2),
        regions=(Region(mark="red", box_xyxy_px=(1.0, 1.0, 9.0, 9.0)),) if has_region else (),
    )


SAMPLES = [
    sample("tiny, without region", (16,), "?", False),
    sample("large", (512,), "?", True),
    sample("two of 64", (64, 64), "?", True),
    sample("one of 80, long question", (80,), "how far is it?", True),
    sample("one of 80", (80,), "how far?", True),
]


def test_the_canary_is_the_smallest_sample_with_a_region() -> None:
    canary = choose_canary(SAMPLES, CanaryConfig(), is_float32=True)
    assert canary is not None
    # 80² pixels are fewer than 2 × 64².
    assert canary.sample.sample_id == "one of 80"
    without = choose_canary(SAMPLES[:1], CanaryConfig(), is_float32=True)
    assert without is not None
    assert without.sample.sample_id == "tiny, without region"
    assert choose_canary(SAMPLES, CanaryConfig(every=0), is_float32=True) is None


@pytest.mark.parametrize(("is_float32", "expected"), [(True, 1e-3), (False, 0.1)])
def test_how_far_apart_depends_on_the_number_format_unless_it_is_set(is_float32: bool, expected: float) -> None:
    canary = choose_canary(SAMPLES, CanaryConfig(), is_float32)
    assert canary is not None
    assert canary.max_difference == expected
    stricter = choose_canary(SAMPLES, CanaryConfig(max_difference=0.02), is_float32)
    assert stricter is not None
    assert stricter.max_difference == 0.02


def test_it_is_due_at_every_third_version_and_with_every_new_group() -> None:
    canary = choose_canary(SAMPLES, CanaryConfig(every=3), is_float32=True)
    assert canary is not None
    assert [canary.is_due(version, is_new_group=False) for version in range(5)] == [True, False, False, True, False]
    assert canary.is_due(4, is_new_group=True)


def test_the_difference_is_a_mean_and_no_number_is_infinitely_far() -> None:
    assert mean_difference([-1.0, -2.0], [-1.5, -1.9]) == pytest.approx(0.3)
    assert mean_difference([-1.0], [-1.0, -2.0]) == math.inf
    assert mean_difference([-1.0, -2.0], [-1.0, math.nan]) == math.inf
