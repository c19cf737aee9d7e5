"""Which attention the ranks compute with: the fastest that works there. "Works" means tried, forward and backward, on
the rank's own device with heads of the model's shape."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from learner.config import DeepSpeedConfig
from vlm.attention import WITH_PADDING, Attention, AttentionName
from vlm.packed_rows import HeadShape, fault_of

ON_GPU: tuple[AttentionName, ...] = ("flash_attention_4", "varlen")
"""What "auto" may stand for on a GPU in half precision, the fastest first."""


def choose_attention(config: DeepSpeedConfig, model_config: Any, device: torch.device) -> Attention:
    """What `config.attention` and `config.packing` stand for on a device.

    Args:
        model_config: the model's Hugging Face configuration, for the shapes of its heads.
        device: that the rank computes on.

    Raises:
        ValueError: the attention that the config names does not work there.
    """
    if config.attention in WITH_PADDING:
        return Attention(config.attention, config.attention, packed=config.packing is True)
    dtype = getattr(torch, config.dtype)
    fast = ON_GPU if device.type == "cuda" and config.dtype == "bfloat16" else ()
    named = () if config.attention == "auto" else (config.attention,)
    text, reasons = _fastest(
        () if config.packing is False else named or fast, HeadShape.of_text(model_config), dtype, device
    )
    if named and text not in named:
        raise ValueError(
            f"learner.deepspeed.attention={config.attention} does not work on {device}: {'; '.join(reasons)}. Choose "
            "auto, which takes what works"
        )
    # The tower computes image by image, whether rows of text are packed or not. Its heads have other shapes, which a
    # kernel for the text may not know, so another may stand in.
    vision, more = _fastest((*named, *fast), HeadShape.of_vision(model_config), dtype, device)
    reasons += [f"in the vision tower {reason}" for reason in more if reason not in reasons]
    packed = text not in WITH_PADDING if config.packing == "auto" else config.packing
    return Attention(text, vision, packed, tuple(reasons))


def _fastest(
    candidates: Sequence[AttentionName], heads: HeadShape, dtype: torch.dtype, device: torch.device
) -> tuple[AttentionName, list[str]]:
    """The first that works, else "sdpa"; and what is wrong with each before it."""
    reasons: list[str] = []
    for name in candidates:
        fault = fault_of(name, heads, dtype, device)
        if fault is None:
            return name, reasons
        reasons.append(f"{name} does not work: {fault}")
    return "sdpa", reasons


def agree_on_attention(mine: Attention, world_size: int) -> Attention:
    """The slowest that any rank has chosen; a collective. All must pack alike, or they would cut batches unlike."""
    found: list[Attention] = [mine] * world_size
    if world_size > 1:
        dist.all_gather_object(found, mine)
    return max(found, key=lambda attention: (not attention.packed, len(attention.reasons), str(attention)))
