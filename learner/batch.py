"""From rows to padded micro-batches, the same number on every rank.

Every rank gets all rows of a batch and works on its share. So each knows the token counts of a whole mini-batch
without asking the others, and the weight of a token does not depend on how the batch was cut.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flow.trajectory import Trajectory
from spatial.sample import ReasoningPath, SpatialSample
from vlm.policy import PolicyBatch, PolicyRow, head_calls
from vlm.prompt import PromptEncoder

# Largest share of padding in a micro-batch that `max_tokens` bounds. Lower means more, smaller passes.
_MAX_PADDING_SHARE = 0.15


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
        moved = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, (Tensor, PolicyBatch))
        }
        return type(self)(**{**vars(self), **moved})


@dataclass(frozen=True, kw_only=True)
class RlMicroBatch(MicroBatch):
    """A micro-batch of trajectories."""

    advantages: Float[Tensor, "batch tokens"]
    rollout_logprobs: Float[Tensor, "batch tokens"]


@dataclass(frozen=True)
class MicroPlan:
    """The rows of one forward pass of one rank; those from `num_real` on only keep ranks in step."""

    rows: tuple[int, ...]
    num_real: int
    num_head_calls: int = 1
    """Calls of the head: as many as the longest of the passes needs that the ranks make at the same time."""


def plan_micro_batches(
    lengths: Sequence[int],
    selected: Sequence[int],
    num_ranks: int,
    max_rows: int | None,
    max_tokens: int | None = None,
) -> list[list[MicroPlan]]:
    """Divide a mini-batch: for each rank its micro-batches, the same number on each, largest first.

    Rows are sorted by length and cut where a bound is met. Then the largest micro-batches are halved until every rank
    has the same number: under ZeRO every pass is a collective, and the others would wait forever for a rank with fewer.
    If all have a single row, some ranks get copies of a row that do not count. Micro-batches are dealt in order of
    size, so that those that run at the same time have nearly the same number of tokens.

    With `max_tokens`, padding is at most `_MAX_PADDING_SHARE` of every micro-batch, and so of the whole: halving can
    only lower the sum.

    Args:
        lengths: tokens (prompt and response) of every row of the batch.
        selected: the rows of this mini-batch, as indices into `lengths`.
        num_ranks: ranks of the learner.
        max_rows: most rows in one pass of one rank; None: no bound.
        max_tokens: most tokens in such a pass, padding included; a longer row gets its own pass. None: no bound.
    """

    def num_tokens(part: Sequence[int]) -> int:
        return len(part) * max(lengths[row] for row in part)

    def fits(part: Sequence[int]) -> bool:
        if max_rows is not None and len(part) > max_rows:
            return False
        real = sum(lengths[row] for row in part)
        return max_tokens is None or num_tokens(part) <= min(max_tokens, real / (1 - _MAX_PADDING_SHARE))

    parts: list[list[int]] = []
    for row in sorted(selected, key=lambda row: (-lengths[row], row)):
        if parts and fits([*parts[-1], row]):
            parts[-1].append(row)
        else:
            parts.append([row])
    while len(parts) % num_ranks and any(len(part) > 1 for part in parts):
        largest = max((part for part in parts if len(part) > 1), key=num_tokens)
        half = len(largest) // 2
        parts.remove(largest)
        parts += [largest[:half], largest[half:]]
    parts.sort(key=num_tokens, reverse=True)
    plans = [MicroPlan(tuple(part), num_real=len(part)) for part in parts]
    plans += [MicroPlan((parts[-1][0],), num_real=0)] * (-len(plans) % num_ranks)
    return [plans[rank::num_ranks] for rank in range(num_ranks)]


def with_equal_head_calls(
    plans: Sequence[Sequence[MicroPlan]], num_response_tokens: Sequence[int]
) -> list[list[MicroPlan]]:
    """The same micro-batches; those that run at the same time make the same number of calls of the head.

    Under ZeRO-3 every call of a module is a collective. A pass with many response tokens calls the head more often than
    one with few, and a rank that made fewer calls would wait forever in another collective than the rest.

    Args:
        plans: the micro-batches of every rank, equally many.
        num_response_tokens: of every row of the batch.
    """
    rounds = [
        max(head_calls(sum(num_response_tokens[row] for row in plan.rows)) for plan in at_once)
        for at_once in zip(*plans, strict=True)
    ]
    return [[replace(plan, num_head_calls=number) for plan, number in zip(own, rounds, strict=True)] for own in plans]


def padding_share(lengths: Sequence[int], plans: Iterable[MicroPlan]) -> float:
    """The share of the tokens of some micro-batches that does not count: padding, and copies of rows.

    Args:
        lengths: tokens of every row of the batch.
        plans: the micro-batches, of all ranks.
    """
    plans = list(plans)
    real = sum(lengths[row] for plan in plans for row in plan.rows[: plan.num_real])
    return 1 - real / sum(len(plan.rows) * max(lengths[row] for row in plan.rows) for plan in plans)


def shuffle_into_mini_batches(num_rows: int, num_mini_batches: int, seed: Sequence[int]) -> list[list[int]]:
    """Row indices in a seeded random order, cut into at most `num_mini_batches` parts of nearly equal size."""
    order = np.random.default_rng(list(seed)).permutation(num_rows)
    return [part.tolist() for part in np.array_split(order, min(num_mini_batches, num_rows))]


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
        chosen = list(self._chosen(plan))
        visions = self._encoder.vision_inputs_of([(row.sample, row.path) for row in chosen])
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
