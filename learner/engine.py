"""One rank of the learner: DeepSpeed around the policy. No Ray in here.

Every rank calls the same methods with the same arguments, in the same order: most of them are collectives. A batch is
given whole to every rank, which works on its own share of it.

    grpo_update(rows)
      reference and proximal log-probabilities, once, without gradients
      for each mini-batch: for each micro-batch: forward, loss, backward;  then one optimiser step

The loss of a mini-batch is a sum over its tokens, with weights fixed from the whole of it (`learner.aggregation`).
DeepSpeed averages gradients over ranks, so each rank's share of the loss is multiplied by the number of ranks.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from learner.algorithms.aggregation import Aggregation, TokenMean
from learner.batch import (
    Collator,
    MicroPlan,
    Row,
    SftRow,
    TrainingRow,
    padding_share,
    plan_micro_batches,
    shuffle_into_mini_batches,
    with_equal_head_calls,
)
from learner.checkpoint_store import alternative
from learner.config import LearnerConfig
from learner.freezing import freeze
from learner.layout import deepspeed_settings, resolve_attention
from learner.metrics import TokenMeans, names_by_staleness
from learner.model_export import export_model
from learner.objective import (
    OFF_POLICY,
    grpo_objective,
    sft_objective,
    with_effective_sample_size,
)
from learner.optimizers.schedule import build_schedule
from learner.pointer import Pointer, find_mentions
from learner.process_group import import_deepspeed, join_process_group, require_device
from learner.step import OptimizerSteps, StepResult, TrainingPass, check_weights
from learner.training_state import load_state, save_state
from spatial.tasks import task_of
from vlm.errors import CheckpointError
from vlm.policy import Policy, PolicyBatch, load_policy
from vlm.prompt import PromptEncoder

_log = logging.getLogger(__name__)


class LearnerEngine:
    """A policy in training."""

    def __init__(
        self,
        checkpoint: Path,
        encoder: PromptEncoder,
        config: LearnerConfig,
        *,
        rank: int = 0,
        world_size: int = 1,
        master_address: str = "127.0.0.1",
        master_port: int = 29500,
        reference: Path | None = None,
        total_steps: int | None = None,
        on_gpu: bool = False,
        steps_per_update: int = 0,
        temperature: float = 1.0,
    ) -> None:
        """Load, join the other ranks, and let DeepSpeed lay out the model.

        Args:
            checkpoint: a Hugging Face folder that training starts from.
            encoder: turns samples into inputs, with the same checkpoint's processor.
            config: settings; `config.num_ranks` must be `world_size`.
            rank: this process among `world_size`.
            world_size: processes of the learner.
            master_address, master_port: where rank 0 listens.
            reference: the folder of the policy that the KL penalty holds on to; None for the cold start.
            total_steps: planned optimiser steps, for a cosine schedule.
            on_gpu: what it computes on: the first GPU that this process sees, or the CPU, whatever cards there are.
            steps_per_update: those planned of one `grpo_update`; one that makes fewer moves the rate on all the same.
            temperature: of the policy: what the engines sample at.

        Raises:
            CheckpointError: a checkpoint lacks a weight or has a wrong one.
            ValueError: settings that do not fit together.
            RuntimeError: `on_gpu`, and PyTorch has no GPU to offer.
        """
        if config.num_ranks != world_size:
            raise ValueError(f"learner.num_ranks={config.num_ranks}, but there are {world_size} ranks")
        self._checkpoint = checkpoint
        self._encoder = encoder
        self._config = config
        self._rank, self._world_size = rank, world_size
        require_device(on_gpu)
        self._on_gpu = on_gpu
        self.attention = resolve_attention(config.deepspeed, on_gpu)
        timeout_s = config.deepspeed.collective_timeout_s
        join_process_group(rank, world_size, master_address, master_port, timeout_s, on_gpu)
        _log.info("learner rank %d of %d: attention %s; %s", rank, world_size, self.attention, config.deepspeed)
        self._engine = self._initialize(total_steps)
        self._reference = None if reference is None or config.kl_coefficient == 0 else self._freeze(reference)
        self._steps = OptimizerSteps(self._engine, config.deepspeed.zero_stage, config.max_nonfinite_steps)
        self._steps_per_update = steps_per_update
        self._temperature = temperature
        self._num_updates = 0

    @property
    def vlm(self) -> Any:
        """The Hugging Face model as DeepSpeed holds it; under ZeRO-3 its parameters are empty between passes."""
        return self._engine.module.vlm

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._engine.device

    @cached_property
    def _pointer(self) -> Pointer | None:
        """Watches a head from the first supervised step on; reinforcement learning has none."""
        return None if self._config.sft.pointer is None else Pointer(self.vlm, self._config.sft.pointer)

    def barrier(self) -> None:
        """Wait for all ranks."""
        dist.barrier()

    def sft_step(self, rows: Sequence[SftRow]) -> dict[str, float]:
        """One optimiser step on the mean negative log-likelihood of all response tokens of `rows`.

        Returns:
            `loss`, `grad_norm`, `learning_rate`, `num_tokens`; `nonfinite_steps`, which is 1 where loss or gradient is
            not finite, so that the step is left out and has no loss, norm or means; `padding_share`, the share of
            padding in the tokens of all micro-batches; `nll` and `entropy`, means over tokens, also by path as `lor/…`,
            `dtr/…` and `direct/…`; `rows/<task>`, the rows of each task.

        Raises:
            NonFiniteError: too many steps in a row were left out; the samples are named.
        """
        collator = Collator(self._encoder, rows)
        selected = range(len(rows))
        tasks = Counter(task_of(row.sample, row.path) for row in rows)
        weights = _weights_of_rows(rows, selected, TokenMean())
        mentions = [find_mentions([row], self._encoder) for row in rows] if self._pointer else []
        means = TokenMeans()

        def training_pass(plan: MicroPlan) -> TrainingPass:
            batch = collator.micro_batch(plan, weights).to(self._engine.device)
            objective = partial(sft_objective, batch)
            if self._pointer is None:
                return batch, objective
            real = enumerate(plan.rows[: plan.num_real])
            here = [mention._replace(row=place) for place, row in real for mention in mentions[row]]
            share = len(here) / max(1, sum(map(len, mentions)))
            return batch, self._pointer.added_to(objective, here, share)

        plans = self._plan(collator, selected)
        mine = plans[self._rank]
        # The likelihood is that of the model itself, whatever temperature it will be sampled at.
        passes = map(training_pass, mine)
        step = self._steps.make(passes, len(mine), means, temperature=1.0, sample_ids=_sample_ids(rows, selected))
        return self._summary([step], means) | {
            "padding_share": padding_share(collator.lengths, chain.from_iterable(plans)),
            **{f"rows/{task}": float(number) for task, number in sorted(tasks.items())},
        }

    def grpo_update(self, rows: Sequence[TrainingRow], weight_version: int | None = None) -> dict[str, float]:
        """`optimizer_steps_per_batch` optimiser steps on a batch of trajectories (fewer if there are fewer rows).

        Args:
            rows: the batch.
            weight_version: of the policy before the update, for metrics by staleness; None: without them.

        Returns:
            `loss` and `grad_norm` (means over the steps made), `learning_rate` (of the last), `num_tokens`,
            `nonfinite_steps` and `padding_share` (as `sft_step`); and means over tokens, also by path as `lor/…` and
            `dtr/…`: `policy_loss`, `entropy`, `ratio`, `clip_fraction`, `dual_clip_fraction`, `kl_reference` (with a
            reference), `kl_proximal_learner`, `kl_rollout_learner` (k3; `…_k1` for k1; of the policy that met the
            batch), `importance_weight`,
            `importance_truncated`, `rejected` (1 for a token without policy loss), and `ess`, the effective sample size
            of the untruncated importance ratios, in (0, 1]. Where a token is of older weights than `weight_version`,
            those of `OFF_POLICY` and `ess` also by staleness, as `staleness_0/…`, `staleness_1/…`.

        Raises:
            ValueError: the config asks for a KL penalty, and no reference was given.
            NonFiniteError: too many steps in a row were left out; the samples are named.
        """
        config = self._config
        if config.kl_coefficient > 0 and self._reference is None:
            raise ValueError(f"learner.kl_coefficient={config.kl_coefficient} needs a reference checkpoint")
        if not rows:  # all were left out, as truncated: nothing is learned, and the rate goes by the plan
            self._steps.advance_schedule(self._steps_per_update)
            self._num_updates += 1
            return self._summary([], TokenMeans())
        collator = Collator(self._encoder, rows)
        mini_batches = shuffle_into_mini_batches(
            len(rows), config.optimizer_steps_per_batch, seed=(config.seed, self._num_updates)
        )
        plans = [self._plan(collator, selected) for selected in mini_batches]
        shares = [plan[self._rank] for plan in plans]
        # The first mini-batch is updated from the very weights that are the proximal policy: its own forward pass
        # yields the proximal log-probabilities.
        proximal = {
            plan: logprobs for share in shares[1:] for plan, logprobs in self._frozen(self._engine, collator, share)
        }
        reference: dict[MicroPlan, Tensor] = {}
        if self._reference is not None:
            reference = {
                plan: logprobs for share in shares for plan, logprobs in self._frozen(self._reference, collator, share)
            }
        versions = {span.weight_version for row in rows for span in row.trajectory.version_spans}
        means = TokenMeans(names_by_staleness(versions, weight_version), OFF_POLICY)
        steps = []
        for selected, share in zip(mini_batches, shares, strict=True):
            weights = _weights_of_rows(rows, selected, config.aggregation)

            def training_pass(plan: MicroPlan, weights: dict[int, float] = weights) -> TrainingPass:
                batch = collator.rl_micro_batch(plan, weights).to(self._engine.device)
                return batch, partial(grpo_objective, batch, config, proximal.get(plan), reference.get(plan))

            passes, sample_ids = map(training_pass, share), _sample_ids(rows, selected)
            steps.append(self._steps.make(passes, len(share), means, self._temperature, sample_ids))
        self._steps.advance_schedule(self._steps_per_update - len(steps))
        self._num_updates += 1
        return self._summary(steps, means) | {
            "padding_share": padding_share(collator.lengths, chain.from_iterable(chain.from_iterable(plans)))
        }

    def response_logprobs(self, rows: Sequence[Row], of_model: bool = False) -> list[list[float]]:
        """The present log-probability of every response token of every row, in order, on every rank.

        `of_model`: of the model itself, at temperature 1 and with no token banned, rather than of the policy.
        """
        collator = Collator(self._encoder, rows)
        mine: dict[int, list[float]] = {}
        plans = self._plan(collator, range(len(rows)))[self._rank]
        policy = partial(_model_logprobs, self._engine) if of_model else self._engine
        for plan, logprobs in self._frozen(policy, collator, plans):
            mask = collator.inputs(plan).response_mask
            mine |= {row: logprobs[i].cpu()[mask[i]].tolist() for i, row in enumerate(plan.rows)}
        parts: list[dict[int, list[float]]] = [{} for _ in range(self._world_size)]
        dist.all_gather_object(parts, mine)
        whole = {row: values for part in parts for row, values in part.items()}
        return [whole[row] for row in range(len(rows))]

    def take_warnings(self) -> list[str]:
        """Which steps were left out and why, since the last call; the same on every rank."""
        return self._steps.take_warnings()

    def save(self, folder: Path) -> None:
        """Write weights, optimiser, schedule and counters into an existing folder that all ranks share.

        Raises:
            NonFiniteError: a weight is not finite; nothing is written.
        """
        check_weights(self.vlm, folder)
        save_state(self._engine, self.vlm, folder, {"num_updates": self._num_updates}, self._config)

    def load(self, folder: Path) -> None:
        """Continue from what `save` wrote. Under ZeRO-3 the engine must be fresh (DeepSpeed's condition).

        Raises:
            CheckpointError: a weight is missing or has another shape, or ranks or ZeRO stage differ; names the good
                checkpoint before it, if there is one.
        """
        try:
            self._num_updates = load_state(self._engine, self.vlm, folder, self._config)["num_updates"]
        except CheckpointError as error:
            raise CheckpointError(f"{error}. {alternative(folder)}") from error

    def export(self, folder: Path) -> None:
        """Write model, tokenizer and processor as a Hugging Face folder, which `load_policy` and vLLM load.

        Raises:
            NonFiniteError: a weight is not finite; nothing is written.
        """
        check_weights(self.vlm, folder)
        export_model(self.vlm, self._checkpoint, folder, is_writer=self._rank == 0)
        self.barrier()

    def close(self) -> None:
        """Let go of the model. The process stays in its process group, and may start another engine."""
        self._engine.destroy()

    def _initialize(self, total_steps: int | None) -> Any:
        """The DeepSpeed engine."""
        config = self._config
        policy = self._load_policy(self._checkpoint)
        vlm: Any = policy.vlm
        freeze(vlm, config)
        if config.deepspeed.activation_checkpointing:
            vlm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        optimizer = config.optimizer.kind.build(policy, config.optimizer)
        engine, *_ = import_deepspeed(self._on_gpu).initialize(
            model=policy.train(),
            optimizer=optimizer,
            lr_scheduler=build_schedule(optimizer, config.optimizer, total_steps),
            config=deepspeed_settings(config.deepspeed, config.optimizer.max_grad_norm, self._on_gpu),
        )
        return engine

    def _freeze(self, folder: Path) -> Any:
        """The reference policy; under ZeRO-3 split over ranks as the policy is."""
        policy = self._load_policy(folder).requires_grad_(False).eval()
        if self._config.deepspeed.zero_stage < 3:
            return policy.to(self._engine.device)
        max_grad_norm = self._config.optimizer.max_grad_norm
        settings = deepspeed_settings(self._config.deepspeed, max_grad_norm, self._on_gpu)
        engine, *_ = import_deepspeed(self._on_gpu).initialize(model=policy, config=settings)
        return engine

    def _load_policy(self, folder: Path) -> Policy:
        dtype = getattr(torch, self._config.deepspeed.dtype)
        return load_policy(folder, dtype, self.attention)

    def _plan(self, collator: Collator, selected: Sequence[int]) -> list[list[MicroPlan]]:
        """The micro-batches of every rank."""
        bounds = self._config.deepspeed
        plans = plan_micro_batches(
            collator.lengths, selected, self._world_size, bounds.micro_batch_rows, bounds.micro_batch_tokens
        )
        return with_equal_head_calls(plans, collator.num_response_tokens)

    @torch.no_grad()
    def _frozen(
        self, policy: Callable[..., tuple[Tensor, Tensor]], collator: Collator, plans: Sequence[MicroPlan]
    ) -> list[tuple[MicroPlan, Tensor]]:
        """Log-probabilities without gradients, in the very micro-batches that are trained on later."""
        device = self._engine.device
        return [(plan, policy(collator.inputs(plan).to(device), self._temperature)[0]) for plan in plans]

    def _summary(self, steps: Sequence[StepResult], means: TokenMeans) -> dict[str, float]:
        """Metrics over all ranks."""
        made = [step for step in steps if step.is_made]
        loss = torch.tensor([step.loss for step in made], dtype=torch.float64)
        self._all_reduce(loss)
        means.reduce(self._all_reduce)
        of_made = {"loss": float(loss.mean()), "grad_norm": fmean(step.grad_norm for step in made)} if made else {}
        return with_effective_sample_size(means.means()) | {
            **of_made,
            "learning_rate": float(self._engine.get_lr()[0]),
            "num_tokens": float(means.num_tokens()),
            "nonfinite_steps": float(len(steps) - len(made)),
        }

    def _all_reduce(self, tensor: Tensor) -> None:
        on_device = tensor.to(self._engine.device)
        dist.all_reduce(on_device)
        tensor.copy_(on_device)


def _model_logprobs(policy: Any, batch: PolicyBatch, _: float) -> tuple[Tensor, Tensor]:
    return policy(batch, temperature=1.0, bans=False)


def _sample_ids(rows: Sequence[Row], selected: Sequence[int]) -> list[str]:
    return [rows[row].sample.sample_id for row in selected]


def _weights_of_rows(rows: Sequence[Row], selected: Sequence[int], aggregation: Aggregation) -> dict[int, float]:
    """What a token of each selected row weighs in their mini-batch."""
    lengths = [len(rows[row].response_token_ids) for row in selected]
    return dict(zip(selected, aggregation.token_weights(lengths), strict=True))
