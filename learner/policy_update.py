"""An update of the policy on a batch of trajectories.

reference and proximal log-probabilities, once, without gradients
for each mini-batch: for each micro-batch: forward, loss, backward;  then one optimiser step
"""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

from torch import Tensor

from learner.batch import RlMicroBatch, TrainingRow, rows_by_group
from learner.config import LearnerConfig
from learner.frozen_vision import FrozenVision
from learner.metrics import TokenMeans, names_by_staleness
from learner.objective import OFF_POLICY, policy_objective
from learner.passes import CutBatch, ForwardPass, MiniBatch, RankPasses
from learner.plan import MicroPlan, shuffle_into_mini_batches
from learner.step import OptimizerSteps, StepResult, TrainingPass


class PolicyTraining:
    """Makes updates on trajectories, and counts them."""

    def __init__(
        self,
        passes: RankPasses,
        steps: OptimizerSteps,
        config: LearnerConfig,
        *,
        reference: ForwardPass | None,
        vision: FrozenVision | None,
        steps_per_update: int,
        temperature: float,
    ) -> None:
        """
        Args:
            passes, steps: this rank's.
            config: the algorithm.
            reference: the policy that the KL penalty holds on to.
            vision: lets an update encode each image once; None: as often as passes show it.
            steps_per_update: optimiser steps planned for one update; the learning rate moves on by them even if an
                update makes fewer.
            temperature: that the engines sample at.
        """
        self._passes = passes
        self._steps = steps
        self._config = config
        self._reference = reference
        self._vision = vision
        self._steps_per_update = steps_per_update
        self._temperature = temperature
        self.num_updates = 0
        """Updates so far, those before a loaded checkpoint included: part of the seed of the next shuffle."""

    def update(self, rows: Sequence[TrainingRow], weight_version: int | None = None) -> dict[str, float]:
        """`optimizer_steps_per_batch` optimiser steps on a batch (fewer if there are fewer groups); a collective.

        Args:
            rows: the batch.
            weight_version: of the policy before the update, for metrics by staleness; None: without them.

        Returns:
            `loss` and `grad_norm` (means over the steps made), `learning_rate` (of the last), `num_tokens`,
            `nonfinite_steps` and `padding_share` (as `SupervisedTraining.step`); and means over tokens, also by path as
            `lor/…` and `dtr/…`: `policy_loss`, `entropy`, the statistics of the policy loss (`ratio`, `clip_fraction`
            and others), `kl_reference` (with a reference), `kl_proximal_learner`, `kl_rollout_learner` (k3; `…_k1` for
            k1; of the policy that met the batch), `importance_weight`, `importance_truncated`, `rejected` (1 for a
            token without policy loss), and `ess`, the effective sample size of the untruncated importance ratios, in
            (0, 1]. If a token is of older weights than `weight_version`, those of `OFF_POLICY` and `ess` also by
            staleness, as `staleness_0/…`, `staleness_1/…`.

        Raises:
            ValueError: the config asks for a KL penalty, and no reference was given.
            NonFiniteError: too many steps in a row were skipped; the samples are named.
        """
        config = self._config
        if config.kl_coefficient > 0 and self._reference is None:
            raise ValueError(f"learner.kl_coefficient={config.kl_coefficient} needs a reference model")
        if not rows:  # all were left out, as truncated: nothing is learned, and the rate goes by the plan
            self._steps.advance_schedule(self._steps_per_update)
            self.num_updates += 1
            return self._steps.summary([], TokenMeans())
        seed = (config.seed, self.num_updates)
        groups = rows_by_group(rows)
        batch = self._passes.cut(rows, shuffle_into_mini_batches(groups, config.optimizer_steps_per_batch, seed))
        versions = {span.weight_version for row in rows for span in row.trajectory.version_spans}
        means = TokenMeans(names_by_staleness(versions, weight_version), OFF_POLICY)
        with nullcontext() if self._vision is None else self._vision.kept():
            # The first mini-batch is updated from the very weights that are the proximal policy: its own forward pass
            # yields the proximal log-probabilities.
            proximal = self._logprobs(self._passes.policy, batch, batch.mini_batches[1:])
            reference = {} if self._reference is None else self._logprobs(self._reference, batch, batch.mini_batches)
            results = [self._step(batch, mini_batch, proximal, reference, means) for mini_batch in batch.mini_batches]
        self._steps.advance_schedule(self._steps_per_update - len(results))
        self.num_updates += 1
        return self._steps.summary(results, means) | {"padding_share": batch.padding_share}

    def _logprobs(
        self, policy: ForwardPass, batch: CutBatch, mini_batches: Sequence[MiniBatch]
    ) -> dict[MicroPlan, Tensor]:
        passes = [plan for mini_batch in mini_batches for plan in mini_batch.passes[self._passes.rank]]
        return self._passes.logprobs(policy, batch.collator, passes, self._temperature)

    def _step(
        self,
        batch: CutBatch,
        mini_batch: MiniBatch,
        proximal: dict[MicroPlan, Tensor],
        reference: dict[MicroPlan, Tensor],
        means: TokenMeans,
    ) -> StepResult:
        config = self._config
        weights = mini_batch.token_weights(config.aggregation)

        def training_pass(plan: MicroPlan, micro_batch: RlMicroBatch) -> TrainingPass:
            return micro_batch, partial(policy_objective, micro_batch, config, proximal.get(plan), reference.get(plan))

        mine = mini_batch.passes[self._passes.rank]
        build = partial(batch.collator.rl_micro_batch, token_weights=weights)
        with self._passes.prepared(build, mine) as micro_batches:
            passes = map(training_pass, mine, micro_batches)
            return self._steps.make(passes, len(mine), means, self._temperature, mini_batch.sample_ids)
