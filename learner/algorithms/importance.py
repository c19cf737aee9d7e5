"""Weights that correct for responses sampled by another policy: proximal over rollout probability, truncated."""

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from learner.algorithms.algorithm import Algorithm, Mask, Tokens
from learner.algorithms.ratios import LOG_RATIO_BOUND
from learner.fields import Positive


class Importance(Algorithm):
    """What the policy loss of each token is multiplied by (arXiv 2505.24298; truncated as in arXiv 1802.01561)."""

    @abstractmethod
    def weights(self, proximal_logprobs: Tokens, rollout_logprobs: Tokens, mask: Mask) -> tuple[Tokens, Tokens]:
        """The weights, and the ratios before truncation. Neither carries a gradient."""


class NoImportance(Importance):
    """Rollout and proximal policy are taken to be the same."""

    type: Literal["none"] = "none"

    def weights(self, proximal_logprobs: Tokens, rollout_logprobs: Tokens, mask: Mask) -> tuple[Tokens, Tokens]:
        """1, and the ratios of tokens."""
        ratios = _ratios(_log_ratios(proximal_logprobs, rollout_logprobs, mask))
        return ratios.new_ones(ratios.shape), ratios

    def describe(self) -> str:
        return "no importance weights"


class TokenImportance(Importance):
    """Each token weighs min(proximal / rollout probability, cap)."""

    type: Literal["token"] = "token"
    cap: Positive = 2.0
    """Largest weight."""

    def weights(self, proximal_logprobs: Tokens, rollout_logprobs: Tokens, mask: Mask) -> tuple[Tokens, Tokens]:
        """min(ρ_t, cap)."""
        ratios = _ratios(_log_ratios(proximal_logprobs, rollout_logprobs, mask))
        return ratios.clamp(max=self.cap), ratios

    def describe(self) -> str:
        return f"token importance weights truncated at {self.cap:g}"


class SequenceImportance(Importance):
    """All tokens of a response weigh min(proximal / rollout probability of the whole response, cap)."""

    type: Literal["sequence"] = "sequence"
    cap: Positive = 2.0
    """Largest weight."""

    def weights(self, proximal_logprobs: Tokens, rollout_logprobs: Tokens, mask: Mask) -> tuple[Tokens, Tokens]:
        """min(Π ρ_t, cap) at every token of the response."""
        log_ratios = _log_ratios(proximal_logprobs, rollout_logprobs, mask)
        ratios = _ratios(log_ratios.sum(-1, keepdim=True).expand_as(log_ratios))
        return ratios.clamp(max=self.cap), ratios

    def describe(self) -> str:
        return f"sequence importance weights truncated at {self.cap:g}"


ImportanceConfig = Annotated[NoImportance | TokenImportance | SequenceImportance, Field(discriminator="type")]


def _log_ratios(proximal_logprobs: Tokens, rollout_logprobs: Tokens, mask: Mask) -> Tokens:
    return ((proximal_logprobs - rollout_logprobs) * mask).detach()


def _ratios(log_ratios: Tokens) -> Tokens:
    return log_ratios.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
