"""One rank of the learner: DeepSpeed around the policy. No Ray in here.

Every rank calls the same methods with the same arguments, in the same order: most of them are collectives. A batch is
given whole to every rank, which works on its own share of it.

    layout          the policy and the reference, laid out over the ranks
    plan, passes    a batch cut into the passes of every rank
    supervised      a step on whole true responses (cold start)
    policy_update   an update on trajectories (reinforcement learning)
    step            one optimiser step, skipped if its loss or gradient is not finite

The loss of a mini-batch is a sum over its tokens, with weights fixed from the whole of it (`learner.aggregation`).
DeepSpeed averages gradients over ranks, so each rank's share of the loss is multiplied by the number of ranks.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from learner.attention import agree_on_attention, choose_attention
from learner.batch import Row, SftRow, TrainingRow
from learner.checkpoint_store import alternative
from learner.config import LearnerConfig
from learner.frozen_vision import FrozenVision
from learner.host_memory import HostMemory, module_tensors, optimizer_tensors, release_cache
from learner.layout import lay_out_policy, lay_out_reference
from learner.model_export import export_model
from learner.passes import ForwardPass, RankPasses
from learner.plan import PassBounds
from learner.policy_update import PolicyTraining
from learner.process_group import join_process_group, own_device, require_device
from learner.step import OptimizerSteps, check_weights
from learner.supervised import SupervisedTraining
from learner.training_state import Base, load_state, save_state
from vlm.errors import CheckpointError
from vlm.model_folders import load_model_config
from vlm.prompt import PromptEncoder

_log = logging.getLogger(__name__)


class LearnerEngine:
    """A policy in training."""

    def __init__(
        self,
        model_folder: Path,
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
            model_folder: a Hugging Face folder that training starts from.
            encoder: turns samples into inputs, with the same model's processor.
            config: settings; `config.num_ranks` must be `world_size`.
            rank: this process among `world_size`.
            world_size: processes of the learner.
            master_address, master_port: where rank 0 listens.
            reference: the folder of the policy that the KL penalty holds on to; None for the cold start.
            total_steps: planned optimiser steps, for a cosine schedule.
            on_gpu: what it computes on: the first GPU that this process sees, or the CPU, whatever cards there are.
            steps_per_update: optimiser steps planned for one `policy_update`, see `PolicyTraining`.
            temperature: of the policy: what the engines sample at.

        Raises:
            CheckpointError: the model folder lacks a weight or has a wrong one.
            ValueError: settings that do not fit together, or an attention that does not work on this device.
            RuntimeError: `on_gpu`, and PyTorch has no GPU to offer.
        """
        if config.num_ranks != world_size:
            raise ValueError(f"learner.num_ranks={config.num_ranks}, but there are {world_size} ranks")
        require_device(on_gpu)
        self._model_folder = model_folder
        self._config = config
        self._temperature = temperature
        timeout_s = config.deepspeed.collective_timeout_s
        join_process_group(rank, world_size, master_address, master_port, timeout_s, on_gpu)
        chosen = choose_attention(config.deepspeed, load_model_config(model_folder), own_device(on_gpu))
        self.attention = agree_on_attention(chosen, world_size)
        _log.info("learner rank %d of %d: attention %s; %s", rank, world_size, self.attention, config.deepspeed)
        self._engine = lay_out_policy(model_folder, config, self.attention, total_steps, on_gpu)
        self._base = None if config.lora is None else Base.of(model_folder)
        frozen: Any = None
        if reference is not None and config.kl_coefficient > 0:
            frozen = self._lay_out_reference(reference, on_gpu)
        # With adapters it is the policy without them, and has no weights of its own.
        own = frozen if isinstance(frozen, torch.nn.Module) else None
        self._optimizer_memory = HostMemory(lambda: optimizer_tensors(self._engine))
        self._reference_memory = HostMemory(lambda: () if own is None else module_tensors(own), is_constant=True)
        layout = config.deepspeed
        bounds = PassBounds(layout.micro_batch_rows, layout.micro_batch_tokens, is_packed=self.attention.packed)
        self._passes = RankPasses(self._engine, encoder, bounds, rank, world_size, layout.passes_ahead)
        self._steps = OptimizerSteps(self._engine, config.deepspeed.zero_stage, config.max_nonfinite_steps)
        self._supervised = SupervisedTraining(self.vlm, encoder, self._passes, self._steps, config.sft.pointer)
        self._policy_training = PolicyTraining(
            self._passes,
            self._steps,
            config,
            reference=frozen,
            vision=self._frozen_vision(own),
            steps_per_update=steps_per_update,
            temperature=temperature,
        )

    def _frozen_vision(self, reference: torch.nn.Module | None) -> FrozenVision | None:
        if not self._config.keeps_image_features:
            return None
        return FrozenVision(self._engine.module, reference, self._config.deepspeed.image_features_mib * 2**20)

    @property
    def vlm(self) -> Any:
        """The Hugging Face model as DeepSpeed holds it; under ZeRO-3 its parameters are empty between passes."""
        return self._engine.module.vlm

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._engine.device

    def _lay_out_reference(self, folder: Path, on_gpu: bool) -> ForwardPass:
        if self._config.lora is not None and folder.resolve() == self._model_folder.resolve():
            from learner.lora import without_adapters  # brings peft

            return without_adapters(self._engine)
        return lay_out_reference(folder, self._config, self.attention, self.device, on_gpu)

    def barrier(self) -> None:
        """Wait for all ranks."""
        dist.barrier()

    def put_away(self) -> float:
        """Keep all that only an update needs (float32 masters, moments, gradients, the reference) in host memory, until
        the next update brings it back; returns the GiB that the device has gained. Weights stay: they are sent."""
        self._optimizer_memory.put_away()
        self._reference_memory.put_away()
        release_cache()
        return (self._optimizer_memory.num_bytes + self._reference_memory.num_bytes) / 2**30

    def release_cache(self) -> None:
        """Give memory that is free here to other processes on the same card."""
        release_cache()

    def bring_back(self) -> dict[str, float]:
        """Undo `put_away`, if it was called; returns the time that it took, as a metric. An update does so by
        itself."""
        if not (self._optimizer_memory.is_away or self._reference_memory.is_away):
            return {}
        started_s = time.perf_counter()
        self._optimizer_memory.fetch()
        self._reference_memory.fetch()
        return {"time/bring_back_s": time.perf_counter() - started_s}

    def sft_step(self, rows: Sequence[SftRow]) -> dict[str, float]:
        """One optimiser step of the cold start; its metrics (`SupervisedTraining.step`)."""
        self.bring_back()
        return self._supervised.step(rows)

    def policy_update(self, rows: Sequence[TrainingRow], weight_version: int | None = None) -> dict[str, float]:
        """One update on a batch of trajectories; its metrics (`PolicyTraining.update`)."""
        metrics = self.bring_back()
        return self._policy_training.update(rows, weight_version) | metrics

    def response_logprobs(self, rows: Sequence[Row], of_model: bool = False) -> list[list[float]]:
        """The present log-probability of every response token (`RankPasses.response_logprobs`)."""
        return self._passes.response_logprobs(rows, self._temperature, of_model)

    def take_warnings(self) -> list[str]:
        """Which steps were skipped and why, since the last call; the same on every rank."""
        return self._steps.take_warnings()

    def save(self, folder: Path) -> None:
        """Write weights, optimiser, schedule and counters into an existing folder that all ranks share; with LoRA no
        weight that is frozen.

        Raises:
            NonFiniteError: a weight is not finite; nothing is written.
        """
        check_weights(self.vlm, folder)
        counters = {"num_updates": self._policy_training.num_updates}
        with self._optimizer_memory.readable():
            save_state(self._engine, self.vlm, folder, counters, self._config, self._base)

    def load(self, folder: Path) -> None:
        """Continue from what `save` wrote. Under ZeRO-3 the engine must be fresh (DeepSpeed's condition).

        Raises:
            CheckpointError: a weight is missing or has another shape, or ranks, ZeRO stage or the base of adapters
                differ; names the good checkpoint before it, if there is one.
        """
        self.bring_back()
        try:
            counters = load_state(self._engine, self.vlm, folder, self._config, self._base)
        except CheckpointError as error:
            raise CheckpointError(f"{error}. {alternative(folder)}") from error
        self._policy_training.num_updates = counters["num_updates"]

    def export(self, folder: Path) -> None:
        """Write model, tokenizer and processor as a Hugging Face folder, which `load_policy` and vLLM load; adapters
        are merged into it.

        Raises:
            NonFiniteError: a weight is not finite; nothing is written.
        """
        check_weights(self.vlm, folder)
        export_model(self.vlm, self._model_folder, folder, is_writer=self._passes.rank == 0)
        self.barrier()

    def export_adapter(self, folder: Path) -> None:
        """Write the adapters in peft's own format, which `peft.PeftModel.from_pretrained` loads beside the base.

        Raises:
            NonFiniteError: a weight is not finite; nothing is written.
        """
        from learner.adapter_export import export_adapter  # brings peft

        check_weights(self.vlm, folder)
        export_adapter(self.vlm, self._config, self._model_folder, folder, is_writer=self._passes.rank == 0)
        self.barrier()

    def close(self) -> None:
        """Let go of the model. The process stays in its process group, and may start another engine."""
        self._optimizer_memory.close()
        self._reference_memory.close()
        self._engine.destroy()
