"""From the rewards of a group to its advantages. Plain numbers: the coordinator, which holds no tensors, calls this."""

import math
from collections.abc import Sequence

from learner.config import AdvantageConfig

_EPSILON = 1e-6


def group_advantages(rewards_G: Sequence[float], config: AdvantageConfig) -> list[float]:  # noqa: N803
    """How much better each response did than its group.

    "grpo" (arXiv 2402.03300, eq. 3): (r - mean) / (std + 1e-6), std of the sample (divided by G - 1).
    "dr_grpo" (arXiv 2503.20783): r - mean.

    Args:
        rewards_G: of the scored members of one group; failures are left out, never counted as 0.
        config: which of the two.

    Returns:
        One advantage a reward, in order; all 0 in a group of one.

    Raises:
        ValueError: a reward is not finite.
    """
    if not all(map(math.isfinite, rewards_G)):
        raise ValueError(f"rewards of a group must be finite, got {list(rewards_G)}")
    size = len(rewards_G)
    mean = math.fsum(rewards_G) / size
    centered = [reward - mean for reward in rewards_G]
    if config.type == "dr_grpo":
        return centered
    std = math.sqrt(math.fsum(value**2 for value in centered) / max(size - 1, 1))
    return [value / (std + _EPSILON) for value in centered]
