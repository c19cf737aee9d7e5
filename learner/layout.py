"""How DeepSpeed lays out the policy and the reference over the ranks.

Left out on purpose: building a model already partitioned (`deepspeed.zero.Init`). Each rank loads the whole model
to host memory once, and ZeRO-3 splits it from there.
"""

from pathlib import Path
from typing import Any

import torch

from learner.config import REDUCE_BUCKET, DeepSpeedConfig, LearnerConfig
from learner.freezing import freeze
from learner.optimizers.schedule import build_schedule
from learner.passes import ForwardPass
from learner.process_group import import_deepspeed
from vlm.attention import Attention
from vlm.policy import Policy, load_policy


def deepspeed_settings(config: DeepSpeedConfig, max_grad_norm: float, on_gpu: bool) -> dict[str, Any]:
    """The dictionary that `deepspeed.initialize` takes."""
    settings: dict[str, Any] = {
        # DeepSpeed requires a number, but takes batches of any size.
        "train_micro_batch_size_per_gpu": config.micro_batch_rows or 1,
        # `OptimizerSteps` marks the last pass of a step, so DeepSpeed must not divide by their number.
        "gradient_accumulation_steps": 1,
        "gradient_clipping": max_grad_norm,
        "zero_optimization": {
            "stage": config.zero_stage,
            "overlap_comm": on_gpu,
            "reduce_bucket_size": REDUCE_BUCKET,
            # ZeRO-3's own linear layer saves memory on GPUs. On CPUs it is slower, and it replaces torch's everywhere.
            "memory_efficient_linear": on_gpu,
        },
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "steps_per_print": None,
    }
    if config.optimizer_offload == "cpu":
        # Steps are PyTorch's own: DeepSpeed's optimiser for CPUs would be compiled on the spot.
        settings["zero_optimization"]["offload_optimizer"] = {"device": "cpu", "pin_memory": on_gpu}
    if config.dtype == "bfloat16":
        settings |= {
            "bf16": {"enabled": True},
            "data_types": {"grad_accum_dtype": "fp32"},
            # Else the sum over ranks is rounded to bfloat16, even that of gradients that were added up in float32. It
            # doubles what ranks send each other, and DeepSpeed's buckets.
            "communication_data_type": "fp32",
        }
    return settings


def lay_out_policy(
    model_folder: Path, config: LearnerConfig, attention: Attention, total_steps: int | None, on_gpu: bool
) -> Any:
    """The DeepSpeed engine around the policy in training, with its optimiser and learning rate.

    Args:
        model_folder: a Hugging Face folder.
        total_steps: planned optimiser steps, for a schedule that ends.
    """
    policy = _load(model_folder, config.deepspeed, attention)
    vlm: Any = policy.vlm
    freeze(vlm, config)
    if config.deepspeed.activation_checkpointing:
        vlm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.lora is not None:
        from learner.lora import keep_frozen_out_of_states  # brings peft

        keep_frozen_out_of_states(policy)
    optimizer = config.optimizer.kind.build(policy, config.optimizer, on_gpu)
    engine, *_ = import_deepspeed(on_gpu).initialize(
        model=policy.train(),
        optimizer=optimizer,
        lr_scheduler=build_schedule(optimizer, config.optimizer, total_steps),
        config=deepspeed_settings(config.deepspeed, config.optimizer.max_grad_norm, on_gpu),
    )
    return engine


def lay_out_reference(
    folder: Path, config: LearnerConfig, attention: Attention, device: torch.device, on_gpu: bool
) -> ForwardPass:
    """The reference policy, which is never trained; under ZeRO-3 split over ranks as the policy is. Where adapters are
    trained on the reference itself, `learner.lora.without_adapters` is the same without a second model."""
    policy = _load(folder, config.deepspeed, attention).requires_grad_(False).eval()
    if config.deepspeed.zero_stage < 3:
        return policy.to(device)
    settings = deepspeed_settings(config.deepspeed, config.optimizer.max_grad_norm, on_gpu)
    engine, *_ = import_deepspeed(on_gpu).initialize(model=policy, config=settings)
    return engine


def _load(folder: Path, config: DeepSpeedConfig, attention: Attention) -> Policy:
    return load_policy(folder, getattr(torch, config.dtype), attention)
