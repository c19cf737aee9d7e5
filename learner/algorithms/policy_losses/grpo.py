"""GRPO's policy loss."""

from typing import Annotated, Literal

from pydantic import Field

from learner.algorithms.algorithm import Mask, Tokens
from learner.algorithms.policy_losses.policy_loss import PolicyLoss, clipped_surrogate, describe_clip
from learner.algorithms.ratios import probability_ratio
from learner.fields import Fraction, NotNegative


class GrpoLoss(PolicyLoss):
    """PPO's clipped objective with one ratio for each token, arXiv 2402.03300; clip-higher as in arXiv 2503.14476."""

    type: Literal["grpo"] = "grpo"
    clip_low: Fraction = 0.2
    """The ratio is clipped below 1 - this."""
    clip_high: NotNegative = 0.3
    """The ratio is clipped above 1 + this."""
    dual_clip: Annotated[float, Field(gt=1)] | None = 3.0
    """With a negative advantage the loss is at most this times its size (arXiv 1912.09729); null: no bound."""

    def of_tokens(
        self, logprobs: Tokens, proximal_logprobs: Tokens, advantages: Tokens, mask: Mask
    ) -> tuple[Tokens, dict[str, Tokens]]:
        """Eq. 3 of the paper, without the penalty, which `learner.kl_coefficient` adds."""
        ratio = probability_ratio(logprobs, proximal_logprobs)
        return clipped_surrogate(ratio, advantages, self.clip_low, self.clip_high, self.dual_clip)

    def describe(self) -> str:
        return f"PPO {describe_clip(self.clip_low, self.clip_high, self.dual_clip)}"
