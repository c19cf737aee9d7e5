"""What a policy loss is, and the clipped surrogate that several share."""

from abc import abstractmethod

from learner.algorithms.algorithm import Algorithm, Mask, Tokens


class PolicyLoss(Algorithm):
    """The loss of each response token, from its advantage and the log-probabilities of two policies."""

    @abstractmethod
    def of_tokens(
        self, logprobs: Tokens, proximal_logprobs: Tokens, advantages: Tokens, mask: Mask
    ) -> tuple[Tokens, dict[str, Tokens]]:
        """
        Args:
            logprobs: of the policy in training, with gradients.
            proximal_logprobs: of the policy that met the batch, without.
            advantages: of each token.
            mask: the response tokens that count.

        Returns:
            The loss of each token, and statistics of each token for the metrics, without gradients. `ratio` and
            `clip_fraction` (1 where the clipped branch counts) are what the metrics of all losses have in common.
        """


def clipped_surrogate(
    ratio: Tokens, advantages: Tokens, clip_low: float, clip_high: float, dual_clip: float | None
) -> tuple[Tokens, dict[str, Tokens]]:
    """PPO's clipped surrogate with separate bounds below and above, and the dual clip.

    With ratio ρ and advantage A: L = max(-Aρ, -A·clip(ρ, 1 - low, 1 + high)); where A < 0, L = min(L, -A·dual_clip).

    Returns:
        As `PolicyLoss.of_tokens`; also `dual_clip_fraction`, 1 where the dual clip bounds the loss.
    """
    import torch

    free = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_low, 1 + clip_high)
    loss = torch.maximum(free, clipped)
    dual_clipped = torch.zeros_like(loss, dtype=torch.bool)
    if dual_clip is not None:
        bound = -advantages * dual_clip
        dual_clipped = (advantages < 0) & (loss > bound)
        loss = torch.where(dual_clipped, bound, loss)
    return loss, {
        "ratio": ratio.detach(),
        "clip_fraction": (clipped > free).float(),
        "dual_clip_fraction": dual_clipped.float(),
    }


def describe_clip(clip_low: float, clip_high: float, dual_clip: float | None) -> str:
    """Such as "clip 0.2/0.3, dual clip 3"."""
    dual = "no dual clip" if dual_clip is None else f"dual clip {dual_clip:g}"
    return f"clip {clip_low:g}/{clip_high:g}, {dual}"
