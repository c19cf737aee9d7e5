"""How DeepSpeed lays out the policy and the reference over the ranks.

Left out on purpose: building a model already partitioned (`deepspeed.zero.Init`). Each rank loads the whole checkpoint
to host memory once, and ZeRO-3 splits it from there.
"""

from typing import Any, Literal

from transformers.utils import is_flash_attn_2_available

from learner.config import DeepSpeedConfig

Attention = Literal["sdpa", "flash_attention_2", "eager"]


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
