"""The losses of GRPO and its relatives, per token, as pure functions.

Every tensor is "batch tokens". Log-probabilities are natural and 0 where `mask` is False; `mask` is True at the
response tokens that count. What a token's loss weighs in its mini-batch is decided once, by `token_weights`, from the
lengths of all responses: the loss of a mini-batch is then a plain weighted sum, however it is cut into micro-batches
and ranks.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from learner.config import AggregationConfig, GrpoLoss, GspoLoss, ImportanceConfig, RejectionConfig

Tokens = Float[Tensor, "batch tokens"]
Mask = Bool[Tensor, "batch tokens"]

# exp(20) is 5e8: beyond any clip range, and far from the overflow that would turn a masked product into NaN.
_LOG_RATIO_BOUND = 20.0


def bounded_exp(exponent: Tokens) -> Tokens:
    """e^x up to x = 20, and from there on the tangent at 20: e^20 · (1 + x - 20).

    Finite for every finite x, and its gradient never becomes 0: a token that is farther away is pulled no less.
    """
    bounded = exponent.clamp(max=_LOG_RATIO_BOUND)
    return bounded.exp() * (1 + exponent - bounded)


def token_weights(lengths: Sequence[int], config: AggregationConfig) -> list[float]:
    """What each token of each response weighs in the loss of a mini-batch.

    "token_mean": 1 / all tokens. "sequence_mean": 1 / (responses × own length).
    "dr_grpo" (arXiv 2503.20783): 1 / (responses × constant).

    Args:
        lengths: response tokens of every response of the mini-batch, over all ranks.
        config: the choice.
    """
    match config.type:
        case "token_mean":
            return [1.0 / sum(lengths)] * len(lengths)
        case "sequence_mean":
            return [1.0 / (len(lengths) * length) for length in lengths]
        case "dr_grpo":
            return [1.0 / (len(lengths) * config.normalizer_tokens)] * len(lengths)


def probability_ratio(logprobs: Tokens, base_logprobs: Tokens) -> Tokens:
    """policy / base, token by token; beyond e^20 as `bounded_exp` continues it."""
    return bounded_exp(logprobs - base_logprobs)


def sequence_ratio(logprobs: Tokens, base_logprobs: Tokens, mask: Mask) -> Tokens:
    """GSPO's ratio of a response, at each of its tokens (GSPO-token, arXiv 2507.18071, eqs. 7 and 14).

    s_t = sg(exp(mean over tokens of log policy - log base)) · policy_t / sg(policy_t), where sg stops the gradient: all
    tokens have the response's value, and each its own gradient. So a token's advantage, its importance weight or its
    rejection acts on that token alone. Where these are equal over a response, the gradient is that of plain GSPO.
    """
    own = logprobs.detach()
    log_ratio = (own - base_logprobs.detach()) * mask
    mean = log_ratio.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    return mean.clamp(-_LOG_RATIO_BOUND, _LOG_RATIO_BOUND).exp() * (logprobs - own).exp()


def policy_loss(
    logprobs: Tokens, proximal_logprobs: Tokens, advantages: Tokens, mask: Mask, config: GrpoLoss | GspoLoss
) -> tuple[Tokens, dict[str, Tokens]]:
    """PPO's clipped surrogate with separate bounds below and above, and the dual clip.

    With ratio ρ and advantage A: L = max(-Aρ, -A·clip(ρ, 1 - low, 1 + high)); where A < 0, L = min(L, -A·dual_clip).
    ρ is that of the token (arXiv 2402.03300, eq. 3) or, under "gspo", of its response (`sequence_ratio`).

    Returns:
        The loss of each token, and for the metrics, per token: `ratio`, `clip_fraction` (1 where the clipped branch
        was larger) and `dual_clip_fraction` (1 where the dual clip bounded the loss).
    """
    if config.type == "gspo":
        ratio = sequence_ratio(logprobs, proximal_logprobs, mask)
    else:
        ratio = probability_ratio(logprobs, proximal_logprobs)
    free = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    loss = torch.maximum(free, clipped)
    dual_clipped = torch.zeros_like(mask)
    if config.dual_clip is not None:
        bound = -advantages * config.dual_clip
        dual_clipped = (advantages < 0) & (loss > bound)
        loss = torch.where(dual_clipped, bound, loss)
    return loss, {
        "ratio": ratio.detach(),
        "clip_fraction": (clipped > free).float(),
        "dual_clip_fraction": dual_clipped.float(),
    }


def importance_weights(
    proximal_logprobs: Tokens, rollout_logprobs: Tokens, mask: Mask, config: ImportanceConfig
) -> tuple[Tokens, Tokens]:
    """Truncated importance weights, proximal over rollout policy (arXiv 2505.24298; truncated as in 1802.01561).

    "token": min(ρ_t, cap). "sequence": min(Π ρ_t, cap) at every token of the response. "none": 1.

    Returns:
        The weights that the policy loss is multiplied by, and the ratios before truncation (of tokens under "none").
        Neither carries a gradient.
    """
    log_ratio = ((proximal_logprobs - rollout_logprobs) * mask).detach()
    if config.type == "sequence":
        log_ratio = log_ratio.sum(-1, keepdim=True).expand_as(log_ratio)
    raw = log_ratio.clamp(-_LOG_RATIO_BOUND, _LOG_RATIO_BOUND).exp()
    return (torch.ones_like(raw) if config.type == "none" else raw.clamp(max=config.cap)), raw


def accepted_tokens(proximal_logprobs: Tokens, rollout_logprobs: Tokens, mask: Mask, config: RejectionConfig) -> Mask:
    """True where a token is trained on; False where the proximal policy is too far from the one that sampled it.

    "token" (IcePop's mask, arXiv 2510.18855): low <= ρ_t <= high. "sequence": low <= exp(mean log ρ_t) <= high, for all
    tokens of the response. "none": True everywhere.

    A rejected token has no policy loss, but keeps its weight in the mini-batch (as in IcePop): it counts in the
    denominators of `token_weights`, which are fixed before any ratio is known. So the other tokens weigh what they
    would without rejection, however the mini-batch was cut, and a batch with much rejected moves the policy less.
    """
    match config.type:
        case "none":
            return torch.ones_like(mask)
        case "token":
            ratio = probability_ratio(proximal_logprobs, rollout_logprobs)
        case "sequence":
            ratio = sequence_ratio(proximal_logprobs, rollout_logprobs, mask)
    return (ratio >= config.low) & (ratio <= config.high)


def kl_k1(logprobs: Tokens, other_logprobs: Tokens) -> Tokens:
    """log p - log q on samples of p: unbiased for KL(p || q), of either sign token by token."""
    return logprobs - other_logprobs


def kl_k3(logprobs: Tokens, other_logprobs: Tokens) -> Tokens:
    """r - 1 - log r with r = q / p, on samples of p: KL(p || q), never negative (joschu.net/blog/kl-approx.html).

    Its gradient by log p is 1 - r. Beyond r = e^20 it stays 1 - e^20 (`bounded_exp`): the policy is pulled back
    from where it is farthest away.
    """
    log_ratio = other_logprobs - logprobs
    return bounded_exp(log_ratio) - 1 - log_ratio


def effective_sample_size(weight_mean: float, squared_weight_mean: float) -> float:
    """Kish's (Σw)² / (n Σw²), from means: 1 when all n weights are equal, 1/n when one token carries everything."""
    return weight_mean**2 / squared_weight_mean
