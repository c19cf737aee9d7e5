"""GSPO's policy loss."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from learner.algorithms.algorithm import Mask, Tokens
from learner.algorithms.policy_losses.policy_loss import PolicyLoss, clipped_surrogate, describe_clip
from learner.algorithms.ratios import sequence_ratio
from learner.fields import Fraction, NotNegative

if TYPE_CHECKING:
    from learner.config import LearnerConfig


class GspoLoss(PolicyLoss):
    """One ratio for each response, the exponential of its mean log-ratio, arXiv 2507.18071. Its clip range is far
    narrower, and responses should weigh the same: set `aggregation: {type: sequence_mean}`; a token mean is refused."""

    type: Literal["gspo"] = "gspo"
    clip_low: Fraction = 3e-4
    """The response's ratio is clipped below 1 - this."""
    clip_high: NotNegative = 4e-4
    """The response's ratio is clipped above 1 + this."""
    dual_clip: Annotated[float, Field(gt=1)] | None = None
    """As in "grpo"; the paper has no such bound."""

    def of_tokens(
        self, logprobs: Tokens, proximal_logprobs: Tokens, advantages: Tokens, mask: Mask
    ) -> tuple[Tokens, dict[str, Tokens]]:
        """GSPO-token, eq. 13 of the paper; with one advantage for the whole response it is eq. 5."""
        ratio = sequence_ratio(logprobs, proximal_logprobs, mask)
        return clipped_surrogate(ratio, advantages, self.clip_low, self.clip_high, self.dual_clip)

    def describe(self) -> str:
        return f"GSPO {describe_clip(self.clip_low, self.clip_high, self.dual_clip)}"

    def check(self, learner: "LearnerConfig") -> None:
        if learner.aggregation.type == "token_mean":
            raise ValueError(
                "policy_loss.type=gspo, but aggregation.type=token_mean: GSPO has one ratio for each response, and a "
                "token mean would give long responses more weight; set aggregation.type=sequence_mean"
            )
