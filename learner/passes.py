"""What one rank computes of a batch: its share of the forward passes, cut alike on every rank."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from learner.ahead import made_ahead
from learner.algorithms.aggregation import Aggregation
from learner.batch import Collator, MicroBatch, RlMicroBatch, Row
from learner.plan import MicroPlan, PassBounds, padding_share, plan_micro_batches, with_equal_head_calls
from vlm.policy import PolicyBatch
from vlm.prompt import PromptEncoder
from vlm.tensors import moved, pinned

Batch = TypeVar("Batch", PolicyBatch, MicroBatch, RlMicroBatch)

ForwardPass = Callable[..., tuple[Tensor, Tensor]]
"""A policy, or the DeepSpeed engine around one: (inputs, temperature) → log-probabilities and entropies."""


@dataclass(frozen=True)
class MiniBatch:
    """The rows of one optimiser step, and the passes that they are cut into."""

    rows: tuple[int, ...]
    """Places in the batch, over all ranks."""
    sample_ids: tuple[str, ...]
    """The sample of each of these rows."""
    lengths: tuple[int, ...]
    """Response tokens of each row."""
    passes: tuple[tuple[MicroPlan, ...], ...]
    """The passes of each rank; every rank has the same number."""

    def token_weights(self, aggregation: Aggregation) -> dict[int, float]:
        """What a token of each row weighs in the loss of this mini-batch."""
        return dict(zip(self.rows, aggregation.token_weights(self.lengths), strict=True))


@dataclass(frozen=True)
class CutBatch:
    """The rows of a batch, cut into mini-batches."""

    collator: Collator
    mini_batches: tuple[MiniBatch, ...]
    bounds: PassBounds

    @property
    def padding_share(self) -> float:
        """The share of the batch's tokens that is padding, over all ranks."""
        passes = chain.from_iterable(mini_batch.passes for mini_batch in self.mini_batches)
        return padding_share(self.collator.lengths, chain.from_iterable(passes), self.bounds)


class RankPasses:
    """Cuts batches for all ranks, and makes the passes of this one."""

    def __init__(
        self,
        engine: Any,
        encoder: PromptEncoder,
        bounds: PassBounds,
        rank: int,
        world_size: int,
        num_ahead: int | None = None,
    ) -> None:
        """
        Args:
            engine: the DeepSpeed engine around the policy.
            encoder: turns samples into inputs.
            bounds: how large a pass may be.
            rank: this rank of `world_size`.
            num_ahead: passes whose inputs are built ahead in a thread; None: as `DeepSpeedConfig.passes_ahead` says.
        """
        self._engine = engine
        self._encoder = encoder
        self._bounds = bounds
        self._num_ahead = num_ahead
        self.rank = rank
        self._world_size = world_size

    @property
    def policy(self) -> ForwardPass:
        """The policy in training."""
        return self._engine

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._engine.device

    def cut(self, rows: Sequence[Row], mini_batches: Sequence[Sequence[Sequence[int]]]) -> CutBatch:
        """Cut a batch into passes for every rank.

        Args:
            rows: the whole batch, the same on every rank.
            mini_batches: the groups of each optimiser step; the rows of a group, as places in `rows`, stay together.
        """
        collator = Collator(self._encoder, rows)
        parts = tuple(self._mini_batch(collator, rows, groups) for groups in mini_batches)
        return CutBatch(collator, parts, self._bounds)

    def cut_singly(self, rows: Sequence[Row]) -> CutBatch:
        """Cut a batch into passes for every rank: one mini-batch, in which every row is a group of its own."""
        return self.cut(rows, [[[row] for row in range(len(rows))]])

    def _mini_batch(self, collator: Collator, rows: Sequence[Row], groups: Sequence[Sequence[int]]) -> MiniBatch:
        selected = [row for group in groups for row in group]
        plans = plan_micro_batches(collator.lengths, groups, self._world_size, self._bounds)
        return MiniBatch(
            rows=tuple(selected),
            sample_ids=tuple(rows[row].sample.sample_id for row in selected),
            lengths=tuple(collator.num_response_tokens[row] for row in selected),
            passes=tuple(map(tuple, with_equal_head_calls(plans, collator.num_response_tokens))),
        )

    @contextmanager
    def prepared(self, build: Callable[[MicroPlan], Batch], passes: Sequence[MicroPlan]) -> Iterator[Iterator[Batch]]:
        """What `build` makes of each pass, on the device. The next is built in a thread while one computes."""
        on_gpu = self.device.type == "cuda"

        def in_reach(plan: MicroPlan) -> Batch:
            return pinned(build(plan)) if on_gpu else build(plan)

        num_ahead = (1 if on_gpu else 0) if self._num_ahead is None else self._num_ahead
        # A thread begins with the first card that its process sees, which need not be this rank's.
        choose = partial(torch.cuda.set_device, torch.cuda.current_device()) if on_gpu else None
        with made_ahead(in_reach, passes, num_ahead, choose) as batches:
            yield (moved(batch, self.device) for batch in batches)

    @torch.no_grad()
    def logprobs(
        self, policy: ForwardPass, collator: Collator, passes: Sequence[MicroPlan], temperature: float
    ) -> dict[MicroPlan, Tensor]:
        """Log-probabilities without gradients, in the very passes that are trained on later."""
        with self.prepared(collator.inputs, passes) as batches:
            return {plan: policy(batch, temperature)[0] for plan, batch in zip(passes, batches, strict=True)}

    def response_logprobs(self, rows: Sequence[Row], temperature: float, of_model: bool) -> list[list[float]]:
        """The present log-probability of every response token of every row, in order, on every rank; a collective.

        Args:
            of_model: of the model itself, at temperature 1 and with no token banned, rather than of the policy.
        """
        batch = self.cut_singly(rows)
        policy = partial(_model_logprobs, self._engine) if of_model else self.policy
        mine: dict[int, list[float]] = {}
        passes = batch.mini_batches[0].passes[self.rank]
        for plan, logprobs in self.logprobs(policy, batch.collator, passes, temperature).items():
            mask = batch.collator.inputs(plan).response_mask
            mine |= {row: logprobs[i].cpu()[mask[i]].tolist() for i, row in enumerate(plan.rows)}
        parts: list[dict[int, list[float]]] = [{} for _ in range(self._world_size)]
        dist.all_gather_object(parts, mine)
        whole = {row: values for part in parts for row, values in part.items()}
        return [whole[row] for row in range(len(rows))]


def _model_logprobs(policy: Any, batch: PolicyBatch, _: float) -> tuple[Tensor, Tensor]:
    return policy(batch, temperature=1.0, bans=False)
