"""GRPO's advantage."""

from collections.abc import Sequence
from typing import Literal

from learner.algorithms.advantages.advantage import Advantage, centered, sample_std

_EPSILON = 1e-6


class GrpoAdvantage(Advantage):
    """(r - mean) / (std + 1e-6) over the group, arXiv 2402.03300."""

    type: Literal["grpo"] = "grpo"

    def formula(self, rewards_G: Sequence[float], whole_G: Sequence[float]) -> list[float]:  # noqa: N803
        """Section 4.1.2 of the paper, with the standard deviation of the sample (divided by G - 1).

        Parts of the reward are divided by the standard deviation of the whole: they keep their weights in the reward.
        If all whole rewards are equal, parts that cancel each other out teach nothing either.
        """
        std = sample_std(whole_G)
        return [value / (std + _EPSILON) if std > _EPSILON else 0.0 for value in centered(rewards_G)]

    def describe(self) -> str:
        return "advantage (r - mean) / std of the group"
