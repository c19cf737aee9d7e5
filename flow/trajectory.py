"""What travels between rollout, scoring and learning. Plain data: importing this needs neither vLLM nor torch."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from spatial.sample import ImageRef, ReasoningPath, SpatialSample


@dataclass(frozen=True)
class RolloutRequest:
    """A request for one response to a sample through a path. Members of a group differ only in `member` and `seed`."""

    group_id: int
    member: int
    sample: SpatialSample
    path: ReasoningPath
    seed: int
    """Seed of this response's sampling, so that a run can be repeated."""
    temperature: float
    max_response_tokens: int


@dataclass(frozen=True)
class VersionSpan:
    """`num_tokens` consecutive response tokens made by the weights of `weight_version`."""

    weight_version: int
    num_tokens: int


@dataclass(frozen=True)
class Trajectory:
    """One response of the policy.

    Alignment law: `response_token_ids` and `rollout_logprobs` have one entry per response token, the end token
    included when `finish_reason` is "stop"; the spans' `num_tokens` add up to the same length.
    `prompt_token_ids` are as the engine saw them, image tokens already expanded.

    Example: `Trajectory(group_id=3, member=0, sample_id="room-7", path=ReasoningPath.LOR, images=(…,),
    prompt_token_ids=(1, 5, 5, 9), response_token_ids=(11, 12, 2), rollout_logprobs=(-0.1, -0.7, -0.01),
    version_spans=(VersionSpan(4, 3),), response_text="…", finish_reason="stop", engine="rollout-0")`.

    Raises:
        ValueError: the alignment law is broken.
    """

    group_id: int
    member: int
    sample_id: str
    path: ReasoningPath
    images: tuple[ImageRef, ...]
    prompt_token_ids: tuple[int, ...]
    response_token_ids: tuple[int, ...]
    rollout_logprobs: tuple[float, ...]
    """Natural log-probabilities of the sampled tokens under the engine's weights, at the sampling temperature and with
    top-p 1: the same quantity that the learner computes."""
    version_spans: tuple[VersionSpan, ...]
    response_text: str
    finish_reason: Literal["stop", "length"]
    engine: str

    def __post_init__(self) -> None:
        num_tokens = len(self.response_token_ids)
        spans = sum(span.num_tokens for span in self.version_spans)
        if len(self.rollout_logprobs) != num_tokens or spans != num_tokens:
            raise ValueError(
                f"trajectory of sample {self.sample_id}: {num_tokens} tokens, {len(self.rollout_logprobs)} "
                f"log-probabilities, {spans} tokens in version spans; these must be equal"
            )

    @classmethod
    def answering(cls, request: RolloutRequest, **generated: Any) -> Self:
        """The response to a request: fields copied from the request, and those that generation adds."""
        return cls(
            group_id=request.group_id,
            member=request.member,
            sample_id=request.sample.sample_id,
            path=request.path,
            images=request.sample.images,
            **generated,
        )

    @property
    def is_truncated(self) -> bool:
        """Whether it was cut off before its end token."""
        return self.finish_reason == "length"

    @property
    def min_weight_version(self) -> int:
        """The version of the oldest weights that made one of its tokens."""
        return min(span.weight_version for span in self.version_spans)
