"""Attention over packed rows: no padding is computed, and no row sees another.

A packed batch lays its rows end to end, as one row of all their tokens. Text layers get the ends of the rows from
`vlm.policy`, the vision tower those of its images (or windows) from transformers, and a kernel computes each row by
itself:

    flash_attention_4   flash-attn 4: GPUs from Hopper on, half precision
    flash_attention_2   flash-attn 2, built for the machine: GPUs, half precision
    varlen              PyTorch's own, `torch.nn.attention.varlen`: GPUs, half precision
    sdpa                PyTorch's `scaled_dot_product_attention`, row by row: everywhere, and the measure of the others

Left out on purpose: sliding windows and dropout, which no family here uses; a model with either is refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from transformers import AttentionInterface

from vlm.attention import Attention, AttentionName

Heads = Float[Tensor, "tokens heads width"]
Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, int, bool, float], Tensor]
"""(queries, keys, values, ends, longest, causal, scale) → output. The tensors are [tokens, heads, width]; there may be
fewer heads of keys and values; `ends` is int32, [rows + 1], from 0; `longest` the tokens of the longest row."""

# transformers' vision towers hand over the ends of their images where the name has this in it.
_PREFIX = "flash_rows_"


@dataclass(frozen=True)
class HeadShape:
    """The heads of one part of a model."""

    num_queries: int
    num_keys: int
    """Heads of keys and of values, each shared by equally many heads of queries."""
    width: int
    causal: bool

    @classmethod
    def of_text(cls, config: Any) -> Self:
        """Those of the language model, by the model's configuration."""
        text = config.text_config
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return cls(text.num_attention_heads, text.num_key_value_heads, width, causal=True)

    @classmethod
    def of_vision(cls, config: Any) -> Self:
        """Those of the vision tower."""
        vision = config.vision_config
        return cls(vision.num_heads, vision.num_heads, vision.hidden_size // vision.num_heads, causal=False)


@dataclass(frozen=True)
class PackedRows:
    """Where the tokens of padded rows are when the rows lie end to end."""

    places: Int[Tensor, " tokens"]
    """The place of each token among the padded rows, row by row."""
    ends: Int[Tensor, " rows_and_one"]
    """int32: 0, then the number of tokens up to the end of each row."""
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Self:
        """
        Args:
            lengths: tokens of each row; the padded rows are as long as the longest.
        """
        longest = max(lengths)
        places = [row * longest + torch.arange(length) for row, length in enumerate(lengths)]
        ends = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        return cls(torch.cat(places).to(device, non_blocking=True), ends.to(device, non_blocking=True), longest)

    def pack(self, padded: Shaped[Tensor, "*kinds rows longest"]) -> Shaped[Tensor, "*kinds 1 tokens"]:
        """The same values without those of the padding."""
        return padded.flatten(-2)[..., None, self.places]

    def arguments(self) -> dict[str, Any]:
        """What the text layers pass on to attention."""
        return {
            "cu_seq_lens_q": self.ends,
            "cu_seq_lens_k": self.ends,
            "max_length_q": self.longest,
            "max_length_k": self.longest,
        }


def _sdpa(q: Heads, k: Heads, v: Heads, ends: Tensor, longest: int, causal: bool, scale: float) -> Heads:
    lengths = ends.diff().tolist()
    by_row = (heads.transpose(0, 1).split(lengths, dim=1) for heads in (q, k, v))
    shared = q.shape[1] != k.shape[1]
    outputs = [
        F.scaled_dot_product_attention(of_q, of_k, of_v, is_causal=causal, scale=scale, enable_gqa=shared)
        for of_q, of_k, of_v in zip(*by_row, strict=True)
    ]
    return torch.cat(outputs, dim=1).transpose(0, 1)


def _varlen(q: Heads, k: Heads, v: Heads, ends: Tensor, longest: int, causal: bool, scale: float) -> Heads:
    from torch.nn.attention.varlen import varlen_attn

    window = (-1, 0) if causal else (-1, -1)
    shared = q.shape[1] != k.shape[1]
    output = varlen_attn(q, k, v, ends, ends, longest, longest, scale=scale, window_size=window, enable_gqa=shared)
    assert isinstance(output, Tensor)
    return output


def _flash_4(q: Heads, k: Heads, v: Heads, ends: Tensor, longest: int, causal: bool, scale: float) -> Heads:
    from flash_attn.cute import flash_attn_varlen_func

    output = flash_attn_varlen_func(
        q,
        k,
        v,
        cu_seqlens_q=ends,
        cu_seqlens_k=ends,
        max_seqlen_q=longest,
        max_seqlen_k=longest,
        softmax_scale=scale,
        causal=causal,
    )
    return output[0] if isinstance(output, tuple) else output  # with the logarithm of the sums


def _flash_2(q: Heads, k: Heads, v: Heads, ends: Tensor, longest: int, causal: bool, scale: float) -> Heads:
    from flash_attn import flash_attn_varlen_func

    return flash_attn_varlen_func(q, k, v, ends, ends, longest, longest, softmax_scale=scale, causal=causal)


_KERNELS: dict[AttentionName, Kernel] = {
    "flash_attention_4": _flash_4,
    "flash_attention_2": _flash_2,
    "varlen": _varlen,
    "sdpa": _sdpa,
}


def _for_transformers(kernel: Kernel) -> Callable[..., tuple[Tensor, None]]:
    """A kernel as transformers calls it: heads before tokens, and all rows in one."""

    def attend(
        module: Any,
        query: Float[Tensor, "1 heads tokens width"],
        key: Float[Tensor, "1 fewer tokens width"],
        value: Float[Tensor, "1 fewer tokens width"],
        attention_mask: Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        is_causal: bool | None = None,
        sliding_window: int | None = None,
        cu_seq_lens_q: Tensor | None = None,
        max_length_q: int | None = None,
        **_: Any,
    ) -> tuple[Float[Tensor, "1 tokens heads width"], None]:
        if cu_seq_lens_q is None or max_length_q is None or attention_mask is not None:
            raise ValueError("packed attention needs the ends of the rows, and no mask")
        if dropout or sliding_window:
            raise ValueError(f"packed attention knows neither dropout ({dropout}) nor sliding_window={sliding_window}")
        causal = bool(module.is_causal) if is_causal is None else is_causal
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        q, k, v = (heads[0].transpose(0, 1) for heads in (query, key, value))
        return kernel(q, k, v, cu_seq_lens_q, int(max_length_q), causal, scale)[None], None

    return attend


for _name, _kernel in _KERNELS.items():
    AttentionInterface.register(_PREFIX + _name, _for_transformers(_kernel))


def set_attention(vlm: Any, attention: Attention) -> None:
    """Let a model compute with it. Named in its configuration, where transformers' layers look at every call."""
    text = _PREFIX + attention.text if attention.packed else attention.text
    vision = attention.vision if attention.vision in ("sdpa", "eager") else _PREFIX + attention.vision
    vlm.model.language_model.config._attn_implementation = text
    vlm.model.visual.config._attn_implementation = vision


# Rows of the trial: two tiles of a kernel, less than one, and a single token.
_TRIAL_LENGTHS = (150, 37, 1)
# Of the largest value. Half precision is off by 1 %; a row that saw another, or the future, by as much as the values.
_TOLERANCE = 0.04


def fault_of(name: AttentionName, heads: HeadShape, dtype: torch.dtype, device: torch.device) -> str | None:
    """Why a kernel cannot be used for such heads; None: it can. It is tried, forward and backward, on three short rows,
    against SDPA in float32."""
    kernel = _KERNELS[name]
    generator = torch.Generator().manual_seed(0)
    counts = (heads.num_queries, heads.num_keys, heads.num_keys, heads.num_queries)
    *inputs, gradient = (torch.randn(sum(_TRIAL_LENGTHS), count, heads.width, generator=generator) for count in counts)
    ends = PackedRows.of(_TRIAL_LENGTHS, device).ends

    def run(kernel: Kernel, number_format: torch.dtype) -> list[Tensor]:
        given = [each.to(device, dtype).to(number_format).requires_grad_() for each in inputs]
        q, k, v = given
        output = kernel(q, k, v, ends, max(_TRIAL_LENGTHS), heads.causal, heads.width**-0.5)
        return [output.detach(), *torch.autograd.grad(output, given, gradient.to(device, dtype).to(number_format))]

    try:
        found = run(kernel, dtype)
    except Exception as error:  # whatever a kernel's own compiler and launcher raise
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    for what, mine, theirs in zip(
        ("output", "queries' gradient", "keys' gradient", "values' gradient"),
        found,
        run(_sdpa, torch.float32),
        strict=True,
    ):
        off = float((mine.float() - theirs).abs().max() / theirs.abs().max())
        if not off <= _TOLERANCE:
            return f"its {what} differs from SDPA's by {off:.1%} of the largest value"
    return None
