"""From the rewards of a group to its advantages. Plain numbers: the coordinator, which holds no tensors, calls this."""

import math
from collections.abc import Sequence

from learner.config import AdvantageConfig

_EPSILON = 1e-6


def group_advantages(
    rewards_G: Sequence[float],  # noqa: N803
    config: AdvantageConfig,
    whole_G: Sequence[float] | None = None,  # noqa: N803
) -> list[float]:
    """How much better each response did than its group.

    "grpo" (arXiv 2402.03300, eq. 3): (r - mean) / (std + 1e-6), std of the sample (divided by G - 1).
    "dr_grpo" (arXiv 2503.20783): r - mean.

    Args:
        rewards_G: of the scored members of one group; failures are left out, never counted as 0.
        config: which of the two.
        whole_G: the whole rewards, where `rewards_G` are a part of them. Every part is then divided by the std of the
            whole, so that parts keep their weights in the reward, and their advantages add up to those of the whole.
            Where the whole rewards are all alike, parts that cancel each other out teach nothing either.

    Returns:
        One advantage a reward, in order; all 0 in a group of one.

    Raises:
        ValueError: a reward is not finite.
    """
    if not all(map(math.isfinite, rewards_G)):
        raise ValueError(f"rewards of a group must be finite, got {list(rewards_G)}")
    centered = _centered(rewards_G)
    if config.type == "dr_grpo":
        return centered
    if whole_G is None:
        return [value / (_std(rewards_G) + _EPSILON) for value in centered]
    std = _std(whole_G)
    return [value / (std + _EPSILON) for value in centered] if std > _EPSILON else [0.0] * len(centered)


def _centered(values: Sequence[float]) -> list[float]:
    mean = math.fsum(values) / len(values)
    return [value - mean for value in values]


def _std(values: Sequence[float]) -> float:
    """Of the sample; 0 for one value."""
    return math.sqrt(math.fsum(value**2 for value in _centered(values)) / max(len(values) - 1, 1))
