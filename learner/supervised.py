"""The cold start's updates: supervised fine-tuning on whole responses."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

from learner.algorithms.aggregation import TokenMean
from learner.batch import MicroBatch, SftRow
from learner.config import PointerConfig
from learner.metrics import TokenMeans
from learner.objective import sft_objective
from learner.passes import RankPasses
from learner.plan import MicroPlan
from learner.pointer import Pointer, find_mentions
from learner.step import OptimizerSteps, TrainingPass
from spatial.tasks import task_of
from vlm.prompt import PromptEncoder


class SupervisedTraining:
    """Makes optimiser steps on the likelihood of responses."""

    def __init__(
        self, vlm: Any, encoder: PromptEncoder, passes: RankPasses, steps: OptimizerSteps, pointer: PointerConfig | None
    ) -> None:
        """
        Args:
            vlm: the model in training.
            encoder: finds the objects that a row mentions.
            passes, steps: this rank's.
            pointer: adds the pointer loss; None: likelihood alone.
        """
        self._vlm = vlm
        self._encoder = encoder
        self._passes = passes
        self._steps = steps
        self._pointer_config = pointer

    @cached_property
    def _pointer(self) -> Pointer | None:
        """Watches a head from the first step on; reinforcement learning, which makes none, has no such hook."""
        return None if self._pointer_config is None else Pointer(self._vlm, self._pointer_config)

    def step(self, rows: Sequence[SftRow]) -> dict[str, float]:
        """One optimiser step on the mean negative log-likelihood of all response tokens of `rows`; a collective.

        Returns:
            `loss`, `grad_norm`, `learning_rate`, `num_tokens`; `nonfinite_steps`, which is 1 if loss or gradient is
            not finite, so that the step is skipped and has no loss, norm or means; `padding_share`, the share of
            padding in the tokens of all micro-batches; `nll` and `entropy`, means over tokens, also by path as `lor/…`,
            `dtr/…` and `direct/…`; `rows/<task>`, the rows of each task.

        Raises:
            NonFiniteError: too many steps in a row were skipped; the samples are named.
        """
        batch = self._passes.cut_singly(rows)
        (mini_batch,) = batch.mini_batches
        weights = mini_batch.token_weights(TokenMean())
        mentions = [find_mentions([row], self._encoder) for row in rows] if self._pointer else []
        means = TokenMeans()

        def training_pass(plan: MicroPlan, micro_batch: MicroBatch) -> TrainingPass:
            objective = partial(sft_objective, micro_batch)
            if self._pointer is None:
                return micro_batch, objective
            real = enumerate(plan.rows[: plan.num_real])
            here = [mention._replace(row=place) for place, row in real for mention in mentions[row]]
            share = len(here) / max(1, sum(map(len, mentions)))
            return micro_batch, self._pointer.added_to(objective, here, share)

        mine = mini_batch.passes[self._passes.rank]
        build = partial(batch.collator.micro_batch, token_weights=weights)
        with self._passes.prepared(build, mine) as micro_batches:
            passes = map(training_pass, mine, micro_batches)
            # The likelihood is that of the model itself, whatever temperature it will be sampled at.
            result = self._steps.make(passes, len(mine), means, temperature=1.0, sample_ids=mini_batch.sample_ids)
        tasks = Counter(task_of(row.sample, row.path) for row in rows)
        return self._steps.summary([result], means) | {
            "padding_share": batch.padding_share,
            **{f"rows/{task}": float(number) for task, number in sorted(tasks.items())},
        }
