"""Dr.GRPO's advantage."""

from collections.abc import Sequence
from typing import Literal

from learner.algorithms.advantages.advantage import Advantage, centered


class DrGrpoAdvantage(Advantage):
    """r - mean over the group, arXiv 2503.20783: easy and hard questions are not given extra weight."""

    type: Literal["dr_grpo"] = "dr_grpo"

    def formula(self, rewards_G: Sequence[float], whole_G: Sequence[float]) -> list[float]:  # noqa: N803
        return centered(rewards_G)

    def describe(self) -> str:
        return "advantage r - mean of the group"
