"""What DeepSpeed needs around it: the process group, its configuration, the optimiser and its schedule.

Left out on purpose: building a model already partitioned (`deepspeed.zero.Init`). Each rank loads the whole checkpoint
to host memory once, and ZeRO-3 splits it from there.
"""

import logging
import math
import os
import warnings
from datetime import timedelta
from types import ModuleType
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers.utils import is_flash_attn_2_available

from learner.config import DeepSpeedConfig, LearnerConfig, OptimizerConfig, Part
from learner.errors import PortTakenError
from learner.muon import MuonWithAdamW

Attention = Literal["sdpa", "flash_attention_2", "eager"]


def require_device(on_gpu: bool) -> None:
    """
    Raises:
        RuntimeError: a GPU is asked for, and PyTorch has none to offer.
    """
    if on_gpu and not torch.cuda.is_available():
        build = "is built for CPUs: `make setup LOCK=gpu`" if torch.version.cuda is None else "finds no usable one"
        raise RuntimeError(
            "a learner rank is to compute on a GPU (cluster.learner_rank_gpus), and PyTorch "
            f"{torch.__version__} {build}"
        )


def import_deepspeed(on_gpu: bool) -> ModuleType:
    """DeepSpeed, told what it runs on. It reads DS_ACCELERATOR while it is imported."""
    # Always said: by itself it would take whatever card there is, whoever it belongs to.
    os.environ["DS_ACCELERATOR"] = "cuda" if on_gpu else "cpu"
    import deepspeed
    import deepspeed.ops

    # Which operators DeepSpeed may compile: none. It would try each with the C compiler, and then take half a minute
    # for one that only its inference uses.
    deepspeed.ops.__compatible_ops__ = {}
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # Under ZeRO-3 DeepSpeed 0.19 calls, many times a step, collectives by names that torch 2.13 deprecates.
    warnings.filterwarnings("ignore", message="`torch.distributed", category=FutureWarning)
    return deepspeed


def join_process_group(
    rank: int, world_size: int, master_address: str, master_port: int, timeout_s: float, on_gpu: bool
) -> None:
    """Join the learner's ranks: nccl on GPUs, gloo elsewhere. A process that has already joined stays as it is.

    Raises:
        ValueError: the process belongs to a group with another rank or size.
        PortTakenError: rank 0 finds `master_port` in use; the other ranks then wait in vain.
        torch.distributed.DistError: the others did not come within `timeout_s`.
    """
    if dist.is_initialized():
        if (dist.get_rank(), dist.get_world_size()) != (rank, world_size):
            raise ValueError(
                f"this process is rank {dist.get_rank()} of {dist.get_world_size()} already, not {rank} of {world_size}"
            )
        return
    # One process a GPU, and a process sees its own GPU only: Ray sets CUDA_VISIBLE_DEVICES.
    os.environ.setdefault("LOCAL_RANK", "0")
    try:
        import_deepspeed(on_gpu).init_distributed(
            dist_backend="nccl" if on_gpu else "gloo",
            auto_mpi_discovery=False,
            verbose=False,
            timeout=timedelta(seconds=timeout_s),
            init_method=f"tcp://{master_address}:{master_port}",
            rank=rank,
            world_size=world_size,
        )
    except dist.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        raise PortTakenError(f"port {master_port} of {master_address} was taken by another process meanwhile") from None


def resolve_attention(config: DeepSpeedConfig, on_gpu: bool) -> Attention:
    """The attention implementation that "auto" stands for."""
    if config.attention != "auto":
        return config.attention
    # Not whether `flash_attn` can be found: flash-attn-4 brings a module of that name too, and is another interface.
    usable = on_gpu and config.dtype == "bfloat16" and is_flash_attn_2_available()
    return "flash_attention_2" if usable else "sdpa"


def deepspeed_settings(config: DeepSpeedConfig, max_grad_norm: float, on_gpu: bool) -> dict[str, Any]:
    """The dictionary that `deepspeed.initialize` takes."""
    settings: dict[str, Any] = {
        # DeepSpeed wants a number, and takes whatever is passed.
        "train_micro_batch_size_per_gpu": config.micro_batch_rows or 1,
        # The engine says itself which pass is the last of a step, so DeepSpeed must not divide by their number.
        "gradient_accumulation_steps": 1,
        "gradient_clipping": max_grad_norm,
        "zero_optimization": {
            "stage": config.zero_stage,
            "overlap_comm": on_gpu,
            # ZeRO-3's own linear layer saves memory on GPUs; on CPU it is slower, and it replaces torch's everywhere.
            "memory_efficient_linear": on_gpu,
        },
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "steps_per_print": None,
    }
    if config.dtype == "bfloat16":
        settings |= {"bf16": {"enabled": True}, "data_types": {"grad_accum_dtype": "fp32"}}
    return settings


def part_of(name: str) -> Part:
    """The part of the VLM that a weight belongs to, by its name."""
    if name.startswith("model.region_encoder."):
        return "region"
    if not name.startswith("model.visual."):
        return "language"
    return "projector" if "merger" in name else "vision"


def freeze(vlm: Any, config: LearnerConfig) -> None:
    """Leave as they are all weights that `config` does not train."""
    num_layers = vlm.config.text_config.num_hidden_layers
    first = num_layers - (config.last_language_layers or num_layers)
    last = [f"model.language_model.layers.{index}." for index in range(first, num_layers)]
    for name, parameter in vlm.named_parameters():
        part = part_of(name)
        is_last = first == 0 or name.startswith((*last, "model.language_model.norm."))
        parameter.requires_grad_(part not in config.freeze and (part != "language" or is_last))


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimiser over those parameters of `model` that are trained."""
    if config.type == "adafactor":
        return torch.optim.Adafactor(
            (parameter for parameter in model.parameters() if parameter.requires_grad),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
    settings: dict[str, Any] = {"weight_decay": config.weight_decay, "betas": config.betas}
    if config.type == "muon":
        return MuonWithAdamW(
            model.named_parameters(), learning_rate=config.learning_rate, epsilon=config.epsilon, **settings
        )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=config.learning_rate, eps=config.epsilon, **settings)


def rate_factor(step: int, config: OptimizerConfig, total_steps: int | None) -> float:
    """What the peak learning rate is multiplied by at optimiser step `step`, counted from 0.

    Raises:
        ValueError: a cosine without `total_steps`.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    if total_steps is None:
        raise ValueError("optimizer.schedule=cosine needs the planned number of optimiser steps (total_steps)")
    progress = min(1.0, (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps))
    return config.final_fraction + (1 - config.final_fraction) * (1 + math.cos(math.pi * progress)) / 2


def build_schedule(optimizer: torch.optim.Optimizer, config: OptimizerConfig, total_steps: int | None) -> LambdaLR:
    """The learning rate over optimiser steps; its position is part of a checkpoint."""
    return LambdaLR(optimizer, lambda step: rate_factor(step, config, total_steps))
