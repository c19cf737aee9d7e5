"""The loss of one micro-batch, and statistics of each token for the metrics."""

from collections.abc import Callable

from torch import Tensor

from learner.algorithms.algorithm import Tokens
from learner.algorithms.ratios import effective_sample_size, kl_k1, kl_k3
from learner.batch import MicroBatch, RlMicroBatch
from learner.config import LearnerConfig

OFF_POLICY = frozenset(
    {
        "clip_fraction",
        "kl_rollout_learner",
        "importance_truncated",
        "rejected",
        "importance_ratio",
        "importance_ratio_squared",
    }
)
"""The statistics that say how far the policies of a batch are apart; its ratios become `ess`."""

# From log-probabilities and entropies of a micro-batch to its share of the loss and its statistics per token.
Objective = Callable[[Tokens, Tokens], tuple[Tensor, dict[str, Tokens]]]


def sft_objective(batch: MicroBatch, logprobs: Tokens, entropies: Tokens) -> tuple[Tensor, dict[str, Tokens]]:
    """Negative log-likelihood of the responses."""
    return -(batch.loss_weights * logprobs).sum(), {"nll": -logprobs, "entropy": entropies}


def policy_objective(
    batch: RlMicroBatch,
    config: LearnerConfig,
    proximal_logprobs: Tokens | None,
    reference_logprobs: Tokens | None,
    logprobs: Tokens,
    entropies: Tokens,
) -> tuple[Tensor, dict[str, Tokens]]:
    """The policy loss of the config, with GRPO's penalty (arXiv 2402.03300, eq. 3) and a bonus on the entropy:
    Σ weight · (accepted · importance · policy loss + kl coefficient · k3 - entropy coefficient · entropy).

    A rejected token keeps its penalty and its bonus, which do not depend on the reward.

    Args:
        proximal_logprobs: of the policy before the update; None: it is the policy in training itself.
        reference_logprobs: of the policy that the penalty keeps the policy close to; None: no penalty.
        logprobs, entropies: of the policy in training, with gradients.
    """
    proximal = logprobs.detach() if proximal_logprobs is None else proximal_logprobs
    surrogate, statistics = config.policy_loss.of_tokens(logprobs, proximal, batch.advantages, batch.mask)
    weights, ratios = config.importance.weights(proximal, batch.rollout_logprobs, batch.mask)
    accepted = config.rejection.accepted(proximal, batch.rollout_logprobs, batch.mask)
    loss = (weights * surrogate).masked_fill(~accepted, 0.0)
    # Left out at 0, not multiplied by it: a backward pass through the entropies needs two more tensors of logits.
    if config.entropy_coefficient:
        loss = loss - config.entropy_coefficient * entropies
    statistics |= {
        "policy_loss": surrogate.detach(),
        "entropy": entropies.detach(),
        "kl_proximal_learner": kl_k3(proximal, logprobs.detach()),
        "kl_rollout_learner": kl_k3(batch.rollout_logprobs, proximal),
        "kl_rollout_learner_k1": kl_k1(batch.rollout_logprobs, proximal),
        "importance_weight": weights,
        "importance_truncated": (weights < ratios).float(),
        "rejected": (~accepted).float(),
        "importance_ratio": ratios,
        "importance_ratio_squared": ratios.square(),
    }
    if reference_logprobs is not None:
        penalty = kl_k3(logprobs, reference_logprobs)
        loss = loss + config.kl_coefficient * penalty
        statistics["kl_reference"] = penalty.detach()
    return (batch.loss_weights * loss).sum(), statistics


def with_effective_sample_size(means: dict[str, float]) -> dict[str, float]:
    """Replace the moments of the importance ratios by `ess`, over all, by path and by staleness."""
    result = dict(means)
    for name in means:
        if name.endswith("importance_ratio_squared"):
            squared = result.pop(name)
            ratio = result.pop(name.removesuffix("_squared"))
            result[name.replace("importance_ratio_squared", "ess")] = effective_sample_size(ratio, squared)
    return result
