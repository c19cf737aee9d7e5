"""What every alternative of an algorithm has in common."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from spatial.strict import StrictModel

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from learner.config import LearnerConfig

    Tokens = Float[Tensor, "batch tokens"]
    """A number for each response token; log-probabilities are natural, and 0 where the mask is False."""
    Mask = Bool[Tensor, "batch tokens"]
    """True at the response tokens that count."""
else:  # every command reads a config: neither torch nor jaxtyping is imported for that
    Tokens = Mask = Any


class Algorithm(StrictModel, ABC):
    """One alternative, chosen by its `type`: its fields are its settings, and a method of its family is its formula."""

    @abstractmethod
    def describe(self) -> str:
        """What it does, with its settings, in a few words: part of a sentence that is shown when a run starts."""

    def check(self, learner: "LearnerConfig") -> None:
        """Refuse settings that make no sense together with this alternative.

        Raises:
            ValueError: names both fields, the reason and what to set.
        """
