"""How far two policies are apart, token by token: ratios of their probabilities, and estimates of the divergence."""

from learner.algorithms.algorithm import Mask, Tokens

LOG_RATIO_BOUND = 20.0
"""exp(20) is 5e8: beyond any clip range, and far from the overflow that would turn a masked product into NaN."""


def bounded_exp(exponent: Tokens) -> Tokens:
    """e^x up to x = 20, and from there on the tangent at 20: e^20 · (1 + x - 20).

    Finite for every finite x, and its gradient never becomes 0: a token that is farther away is pulled no less.
    """
    bounded = exponent.clamp(max=LOG_RATIO_BOUND)
    return bounded.exp() * (1 + exponent - bounded)


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
    return mean.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp() * (logprobs - own).exp()


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
