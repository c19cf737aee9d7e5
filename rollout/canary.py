"""One fixed question with a fixed response: after a push, engine and learner must find it equally likely.

Checksums show that the right bytes arrived; only this shows that engine and learner compute the same with them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rollout.config import CanaryConfig
from spatial.sample import ReasoningPath, SpatialSample

if TYPE_CHECKING:
    from vlm.prompt import PromptEncoder

# Length of the response: enough to depend on every weight, and cheap.
_MAX_TOKENS = 32
_FLOAT32_DIFFERENCE = 1e-3
_BFLOAT16_DIFFERENCE = 0.1


@dataclass(frozen=True)
class Canary:
    """A prompt, a response, and how far apart their log-probabilities may be."""

    sample: SpatialSample
    path: ReasoningPath
    response: str
    """Any text; the policy need not have written it."""
    every: int
    """Versions from one comparison to the next."""
    max_difference: float
    """In nats a token, as a mean over the response."""

    def is_due(self, version: int, is_new_group: bool) -> bool:
        """Whether a push of `version` ends with a comparison. The first to its engines (`is_new_group`) always does."""
        return is_new_group or version % self.every == 0

    def response_token_ids(self, encoder: "PromptEncoder") -> tuple[int, ...]:
        return encoder.response_token_ids(self.response)[:_MAX_TOKENS]


def choose_canary(samples: Iterable[SpatialSample], config: CanaryConfig, is_float32: bool) -> Canary | None:
    """The smallest sample among those with regions, or among all if none has regions; None if `every` is 0.

    Small, because vLLM computes logits for its whole prompt: 4 bytes × tokens × vocabulary. The response is the
    sample's own chain of thought or, without one, its question.

    Args:
        samples: at least one.
        config: the comparison's interval and bound.
        is_float32: whether learner and engines compute in float32.
    """
    if config.every == 0:
        return None

    def size(sample: SpatialSample) -> tuple[bool, int, int]:
        num_pixels = sum(image.width_px * image.height_px for image in sample.images)
        return not sample.regions, num_pixels, len(sample.question)

    sample = min(samples, key=size)
    path = sample.paths[0]
    return Canary(
        sample=sample,
        path=path,
        response=sample.chains.get(path, sample.question),
        every=config.every,
        max_difference=config.max_difference or (_FLOAT32_DIFFERENCE if is_float32 else _BFLOAT16_DIFFERENCE),
    )


def mean_difference(learner_logprobs: Sequence[float], rollout_logprobs: Sequence[float]) -> float:
    """Mean absolute difference in nats a token; infinite if the lengths differ or a value is not finite."""
    if len(learner_logprobs) != len(rollout_logprobs):
        return math.inf
    differences = [abs(a - b) for a, b in zip(learner_logprobs, rollout_logprobs, strict=True)]
    mean = sum(differences) / len(differences)
    return mean if math.isfinite(mean) else math.inf
