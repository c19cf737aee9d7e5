"""From the rows of a batch to the tensors of a pass; `learner.plan` says which rows come together.

Every rank gets all rows of a batch and works on its share. So each knows the token counts of a whole mini-batch
without asking the others, and the weight of a token does not depend on how the batch was cut.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flow.trajectory import Trajectory
from learner.plan import MicroPlan
from spatial.sample import ReasoningPath, SpatialSample
from vlm.policy import PolicyBatch, PolicyRow
from vlm.prompt import PromptEncoder
from vlm.tensors import moved


class Row(Protocol):
    """One prompt with one response, for either kind of training. Prompts have their image tokens expanded."""

    @property
    def sample(self) -> SpatialSample: ...
    @property
    def path(self) -> ReasoningPath: ...
    @property
    def prompt_token_ids(self) -> tuple[int, ...]: ...
    @property
    def response_token_ids(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class SftRow:
    """A sample asked through a path, with the correct response, end token included."""

    sample: SpatialSample
    path: ReasoningPath
    prompt_token_ids: tuple[int, ...]
    response_token_ids: tuple[int, ...]

    @classmethod
    def from_chain(cls, sample: SpatialSample, path: ReasoningPath, encoder: PromptEncoder) -> Self:
        """The sample's own chain of thought for `path`.

        Raises:
            KeyError: the sample has no chain for that path.
            ValueError: it holds a token that stands for an image or a region.
        """
        if path not in sample.chains:
            raise KeyError(f"sample {sample.sample_id} has no chain of thought for path {path}")
        response = encoder.response_token_ids(sample.chains[path])
        if banned := set(response) & set(encoder.banned_token_ids):
            token = encoder.tokenizer.convert_ids_to_tokens(min(banned))
            raise ValueError(
                f"sample {sample.sample_id}: chains.{path.value} holds {token}, which the model reads as an image or a "
                "region; replace it with ordinary words"
            )
        return cls(
            sample=sample,
            path=path,
            prompt_token_ids=encoder.prompt_token_ids(sample, path),
            response_token_ids=response,
        )


@dataclass(frozen=True)
class TrainingRow:
    """A trajectory with its advantage. Its token ids are the engine's: nothing is tokenised or expanded again.

    Raises:
        ValueError: sample and trajectory do not belong together, the response is empty, or an advantage is not finite.
    """

    sample: SpatialSample
    trajectory: Trajectory
    advantage: float
    """The advantage of every response token."""
    detect_advantage: float = 0.0
    """Added to it on the first `num_detect_tokens` response tokens."""
    num_detect_tokens: int = 0

    def __post_init__(self) -> None:
        if self.sample.sample_id != self.trajectory.sample_id:
            raise ValueError(f"a trajectory of {self.trajectory.sample_id} beside sample {self.sample.sample_id}")
        if not self.trajectory.response_token_ids or not math.isfinite(self.advantage + self.detect_advantage):
            raise ValueError(
                f"trajectory of sample {self.sample.sample_id}: {len(self.trajectory.response_token_ids)} response "
                f"tokens, advantages {self.advantage} and {self.detect_advantage}; it needs at least one token and "
                "finite advantages"
            )

    @property
    def path(self) -> ReasoningPath:
        return self.trajectory.path

    @property
    def prompt_token_ids(self) -> tuple[int, ...]:
        return self.trajectory.prompt_token_ids

    @property
    def response_token_ids(self) -> tuple[int, ...]:
        return self.trajectory.response_token_ids


def rows_by_group(rows: Sequence[TrainingRow]) -> list[list[int]]:
    """The places of the rows of each group, in the order of their first rows."""
    groups: dict[tuple[ReasoningPath, int], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row.path, row.trajectory.group_id].append(place)
    return list(groups.values())


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """Rows of one forward pass. All tensors but `inputs` are "batch tokens", aligned with `inputs.response_mask`."""

    inputs: PolicyBatch
    sample_ids: tuple[str, ...]
    paths: tuple[ReasoningPath, ...]
    mask: Bool[Tensor, "batch tokens"]
    """True for response tokens that count; False throughout a row that only keeps ranks in step."""
    loss_weights: Float[Tensor, "batch tokens"]
    """The weight of each token in the loss of its mini-batch; 0 outside `mask`."""
    weight_versions: Int[Tensor, "batch tokens"] | None = None
    """The version of the weights that made each response token; None in supervised training, where none did."""

    def to(self, device: torch.device) -> Self:
        return moved(self, device)


@dataclass(frozen=True, kw_only=True)
class RlMicroBatch(MicroBatch):
    """A micro-batch of trajectories."""

    advantages: Float[Tensor, "batch tokens"]
    rollout_logprobs: Float[Tensor, "batch tokens"]


class Collator:
    """Builds micro-batches of a batch's rows."""

    def __init__(self, encoder: PromptEncoder, rows: Sequence[Row]) -> None:
        self._encoder = encoder
        self._rows = rows

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row, prompt and response."""
        return [len(row.prompt_token_ids) + len(row.response_token_ids) for row in self._rows]

    @cached_property
    def num_response_tokens(self) -> list[int]:
        """Response tokens of each row."""
        return [len(row.response_token_ids) for row in self._rows]

    def inputs(self, plan: MicroPlan) -> PolicyBatch:
        """The policy's inputs of one pass."""
        chosen = self._chosen(plan)
        try:
            visions = self._encoder.vision_inputs_of([(row.sample, row.path) for row in chosen])
        except Exception as error:
            ids = dict.fromkeys(row.sample.sample_id for row in chosen)
            error.add_note(f"These are the images of a pass with the samples {', '.join(ids)}")
            raise
        rows = [
            PolicyRow(row.prompt_token_ids, row.response_token_ids, vision)
            for row, vision in zip(chosen, visions, strict=True)
        ]
        return PolicyBatch.collate(rows, self._encoder.pad_token_id, self._encoder.image_token_id, plan.num_head_calls)

    def micro_batch(self, plan: MicroPlan, token_weights: dict[int, float]) -> MicroBatch:
        """A micro-batch for supervised training; `token_weights` has the weight of a token by row."""
        inputs = self.inputs(plan)
        is_real = torch.arange(len(plan.rows)) < plan.num_real
        mask = inputs.response_mask & is_real[:, None]
        weights = torch.tensor([token_weights[row] for row in plan.rows], dtype=torch.float32)
        return MicroBatch(
            inputs=inputs,
            sample_ids=tuple(row.sample.sample_id for row in self._chosen(plan)),
            paths=tuple(row.path for row in self._chosen(plan)),
            mask=mask,
            loss_weights=mask * weights[:, None],
        )

    def rl_micro_batch(self, plan: MicroPlan, token_weights: dict[int, float]) -> RlMicroBatch:
        """A micro-batch of trajectories; all rows must be `TrainingRow`s."""
        base = self.micro_batch(plan, token_weights)
        rows = [row for row in self._chosen(plan) if isinstance(row, TrainingRow)]
        mask = base.inputs.response_mask
        rollout_logprobs = torch.tensor([p for row in rows for p in row.trajectory.rollout_logprobs])
        whole, detect = torch.tensor([[row.advantage, row.detect_advantage] for row in rows]).unbind(1)
        num_detect_tokens = torch.tensor([row.num_detect_tokens for row in rows])
        in_detect = mask & (mask.cumsum(1) <= num_detect_tokens[:, None])
        spans = [span for row in rows for span in row.trajectory.version_spans]
        versions, counts = torch.tensor([[span.weight_version, span.num_tokens] for span in spans]).unbind(1)
        weight_versions = torch.zeros(mask.shape, dtype=torch.long).masked_scatter(
            mask, versions.repeat_interleave(counts)
        )
        return RlMicroBatch(
            **vars(base) | {"weight_versions": weight_versions},
            advantages=whole[:, None] * mask + detect[:, None] * in_detect,
            rollout_logprobs=torch.zeros(mask.shape).masked_scatter(mask, rollout_logprobs),
        )

    def _chosen(self, plan: MicroPlan) -> list[Row]:
        return [self._rows[row] for row in plan.rows]
