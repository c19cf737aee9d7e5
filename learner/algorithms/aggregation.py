"""How the losses of tokens become the loss of a mini-batch: what each token weighs in it.

The weights are fixed from the lengths of all responses of the mini-batch. So its loss is a plain weighted sum, however
it is cut into micro-batches and ranks.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from learner.algorithms.algorithm import Algorithm
from learner.fields import Count


class Aggregation(Algorithm):
    """What each token of each response weighs in the loss of a mini-batch."""

    @abstractmethod
    def token_weights(self, lengths: Sequence[int]) -> list[float]:
        """The weight of a token of each response.

        Args:
            lengths: response tokens of every response of the mini-batch, over all ranks.
        """


class TokenMean(Aggregation):
    """Every response token of a mini-batch weighs the same."""

    type: Literal["token_mean"] = "token_mean"

    def token_weights(self, lengths: Sequence[int]) -> list[float]:
        """1 / all tokens, as in DAPO (arXiv 2503.14476)."""
        return [1.0 / sum(lengths)] * len(lengths)

    def describe(self) -> str:
        return "all tokens weigh the same"


class SequenceMean(Aggregation):
    """Every response of a mini-batch weighs the same, its tokens sharing that weight."""

    type: Literal["sequence_mean"] = "sequence_mean"

    def token_weights(self, lengths: Sequence[int]) -> list[float]:
        """1 / (responses × length of its own response), as in GRPO (arXiv 2402.03300, eq. 3)."""
        return [1.0 / (len(lengths) * length) for length in lengths]

    def describe(self) -> str:
        return "all responses weigh the same"


class ConstantLength(Aggregation):
    """Dr.GRPO: the losses of a response's tokens are added up and divided by a constant, so that length earns
    nothing."""

    type: Literal["dr_grpo"] = "dr_grpo"
    normalizer_tokens: Count
    """The constant, usually the longest response allowed; tokens."""

    def token_weights(self, lengths: Sequence[int]) -> list[float]:
        """1 / (responses × constant), arXiv 2503.20783."""
        return [1.0 / (len(lengths) * self.normalizer_tokens)] * len(lengths)

    def describe(self) -> str:
        return f"a response is its sum over {self.normalizer_tokens} tokens"


AggregationConfig = Annotated[TokenMean | SequenceMean | ConstantLength, Field(discriminator="type")]
