"""Which tokens get no policy loss, because the proximal policy is too far from the one that sampled them.

A rejected token has no policy loss, but keeps its weight in the mini-batch (as in IcePop): it counts in the
denominators of the aggregation, which are fixed before any ratio is known. So the other tokens weigh what they would
without rejection, however the mini-batch was cut, and a batch with many rejected tokens moves the policy less.
"""

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from learner.algorithms.algorithm import Algorithm, Mask, Tokens
from learner.algorithms.ratios import probability_ratio, sequence_ratio
from learner.fields import Fraction


class Rejection(Algorithm):
    """Which tokens are trained on."""

    @abstractmethod
    def accepted(self, proximal_logprobs: Tokens, rollout_logprobs: Tokens, mask: Mask) -> Mask:
        """True where a token is trained on."""


class NoRejection(Rejection):
    """Every response token is trained on."""

    type: Literal["none"] = "none"

    def accepted(self, proximal_logprobs: Tokens, rollout_logprobs: Tokens, mask: Mask) -> Mask:
        """True everywhere."""
        return mask.new_ones(mask.shape)

    def describe(self) -> str:
        return "no rejection"


class TokenRejection(Rejection):
    """A token whose ratio proximal / rollout probability lies outside [low, high] has no policy loss, as in IcePop,
    arXiv 2510.18855."""

    type: Literal["token"] = "token"
    low: Fraction = 0.5
    """Smallest ratio that is trained on."""
    high: Annotated[float, Field(gt=1)] = 5.0
    """Largest ratio that is trained on. Below this bound, a ratio above `importance.cap` is truncated to it."""

    def accepted(self, proximal_logprobs: Tokens, rollout_logprobs: Tokens, mask: Mask) -> Mask:
        """low <= ρ_t <= high."""
        return _is_within(probability_ratio(proximal_logprobs, rollout_logprobs), self.low, self.high)

    def describe(self) -> str:
        return f"tokens rejected outside ratios {self.low:g} to {self.high:g}"


class SequenceRejection(Rejection):
    """A response has no policy loss if the geometric mean of its tokens' ratios lies outside [low, high] (verl calls
    this "geometric"). A mean over many tokens varies far less than one ratio, so the range is far narrower."""

    type: Literal["sequence"] = "sequence"
    low: Fraction = 0.99
    """Smallest mean ratio that is trained on."""
    high: Annotated[float, Field(gt=1)] = 1.01
    """Largest mean ratio that is trained on."""

    def accepted(self, proximal_logprobs: Tokens, rollout_logprobs: Tokens, mask: Mask) -> Mask:
        """low <= exp(mean log ρ_t) <= high, for all tokens of the response."""
        return _is_within(sequence_ratio(proximal_logprobs, rollout_logprobs, mask), self.low, self.high)

    def describe(self) -> str:
        return f"responses rejected outside mean ratios {self.low:g} to {self.high:g}"


RejectionConfig = Annotated[NoRejection | TokenRejection | SequenceRejection, Field(discriminator="type")]


def _is_within(ratio: Tokens, low: float, high: float) -> Mask:
    return (ratio >= low) & (ratio <= high)
