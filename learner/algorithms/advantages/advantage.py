"""From the rewards of a group to its advantages, in plain numbers."""

import math
from abc import abstractmethod
from collections.abc import Sequence

from learner.algorithms.algorithm import Algorithm


class Advantage(Algorithm):
    """How much better each response did than its group."""

    def of_group(
        self,
        rewards_G: Sequence[float],  # noqa: N803
        whole_G: Sequence[float] | None = None,  # noqa: N803
    ) -> list[float]:
        """One advantage for each reward, in order; all 0 in a group of one.

        Args:
            rewards_G: the rewards of a group's scored responses; a failed response has none, not one of 0.
            whole_G: the whole rewards, where `rewards_G` is only a part of each (`learner.credit=spans`). All parts
                are measured on the scale of the whole, so that their advantages add up to its advantages.

        Raises:
            ValueError: a reward is not finite.
        """
        if not all(map(math.isfinite, rewards_G)):
            raise ValueError(f"rewards of a group must be finite, got {list(rewards_G)}")
        if len(rewards_G) == 1:
            return [0.0]
        return self.formula(rewards_G, rewards_G if whole_G is None else whole_G)

    @abstractmethod
    def formula(self, rewards_G: Sequence[float], whole_G: Sequence[float]) -> list[float]:  # noqa: N803
        """See `of_group`; the rewards are finite, and two or more."""


def centered(values: Sequence[float]) -> list[float]:
    """The values minus their mean."""
    mean = math.fsum(values) / len(values)
    return [value - mean for value in values]


def sample_std(values: Sequence[float]) -> float:
    """The standard deviation of a sample (divided by their number - 1); 0 for one value."""
    return math.sqrt(math.fsum(value**2 for value in centered(values)) / max(len(values) - 1, 1))
