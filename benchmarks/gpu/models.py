"""Models in real shapes with random weights, made where they are measured."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.figures import FigureFile
from benchmarks.gpu.machine import Bench
from vlm.config import TinyModelConfig
from vlm.families import QWEN2_5_VL, QWEN3_VL, Family
from vlm.files import follow_umask
from vlm.hub.region_prompts import REGION
from vlm.model_folders import region_config, region_processor
from vlm.tiny import build_processor, build_tokenizer, model_config

WORDS = (
    "Which is closer to the camera? A. red point B. blue point",
    "red point: blue point: green point: yellow point: cyan point: detect think",
    "<think>red z 2.03 , blue z 3.40 . red is closer</think><answer>A</answer>",
)


MIN_PIXELS = 65_536
"""Smaller images are enlarged."""


@dataclass(frozen=True)
class Shape:
    """A model's shape; what is not named is as in a tiny model of its family."""

    name: str
    family: Family
    image_px: int
    """Side of the square images that are not resized."""
    patch_px: int
    text: dict[str, Any] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=dict)


def _qwen3_text(hidden: int, layers: int, heads: int, kv_heads: int, inner: int, vocabulary: int) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True, "mrope_section": [24, 20, 20]}
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": 128,
        "vocab_size": vocabulary,
        "max_position_embeddings": 32768,
        "initializer_range": 0.02,
        "rope_parameters": rope,
    }


def _qwen2_5_text(hidden: int, layers: int, heads: int, kv_heads: int, inner: int, vocabulary: int) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    text = _qwen3_text(hidden, layers, heads, kv_heads, inner, vocabulary) | {"rope_parameters": rope}
    del text["head_dim"]
    return text


def _vision(width: int, depth: int, heads: int, inner: int, out: int, **others: Any) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "depth": depth,
        "num_heads": heads,
        "intermediate_size": inner,
        "out_hidden_size": out,
        "initializer_range": 0.02,
        **others,
    }


QWEN3_VL_2B = Shape(
    "qwen3-vl-2b",
    QWEN3_VL,
    image_px=640,
    patch_px=16,
    text=_qwen3_text(2048, 28, 16, 8, 6144, 151936),
    vision=_vision(
        *(1024, 24, 16, 4096, 2048), num_position_embeddings=2304, deepstack_visual_indexes=[5, 11, 17]
    ),
)  # fmt: skip
QWEN2_5_VL_3B = Shape(
    "qwen2.5-vl-3b",
    QWEN2_5_VL,
    image_px=448,
    patch_px=14,
    text=_qwen2_5_text(2048, 36, 16, 2, 11008, 151936),
    vision=_vision(*(1280, 32, 16, 3420, 2048), fullatt_block_indexes=[7, 15, 23, 31], window_size=112),
)
# Heads as wide as the real ones, few layers: for what does not depend on size. Larger weights than usual, so that
# probabilities are as unequal as a trained model's.
_LARGE = {"initializer_range": 0.06}
QWEN3_VL_SHALLOW = Shape(
    "qwen3-vl-shallow",
    QWEN3_VL,
    image_px=448,
    patch_px=16,
    text=_qwen3_text(1024, 4, 8, 4, 3072, 8192) | _LARGE,
    vision=_vision(*(512, 4, 8, 2048, 1024), num_position_embeddings=784, deepstack_visual_indexes=[1, 2]),
)
QWEN2_5_VL_SHALLOW = Shape(
    "qwen2.5-vl-shallow",
    QWEN2_5_VL,
    image_px=448,
    patch_px=14,
    text=_qwen2_5_text(1024, 4, 8, 2, 3072, 8192) | _LARGE,
    vision=_vision(*(640, 4, 8, 1710, 1024), fullatt_block_indexes=[1, 3], window_size=112),
)
QWEN3_VL_TOY = Shape("qwen3-vl-toy", QWEN3_VL, image_px=128, patch_px=16)
QWEN2_5_VL_TOY = Shape("qwen2.5-vl-toy", QWEN2_5_VL, image_px=128, patch_px=16)


def configuration(shape: Shape, tokenizer: Any = None) -> Any:
    """The Hugging Face configuration of a model of this shape, with region tokens."""
    tokenizer = tokenizer or build_tokenizer(WORDS)
    tiny = TinyModelConfig(patch_size_px=shape.patch_px, image_size_px=shape.image_px)
    settings = model_config(tokenizer, tiny, shape.family).to_dict()
    settings["text_config"].pop("layer_types", None)  # one for each of the tiny model's layers
    settings["text_config"] |= shape.text
    settings["vision_config"] |= shape.vision
    regional = region_config(shape.family.classes().plain_config.from_dict(settings))
    regional.region_token_id = tokenizer.convert_tokens_to_ids(REGION)
    return regional


def build_model(folder: Path, shape: Shape, dtype: torch.dtype, device: str) -> Path:
    """Write a model with region tokens to `folder`, unless it is there; returns the folder.

    The weights are drawn on `device`. The vocabulary is as large as the shape says, but the tokenizer knows only the
    few words of `WORDS`.
    """
    if (folder / "complete").exists():
        return folder
    tokenizer = build_tokenizer(WORDS)
    tiny = TinyModelConfig(patch_size_px=shape.patch_px, image_size_px=shape.image_px)
    regional = configuration(shape, tokenizer)
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = shape.family.classes().model(regional)
    finally:
        torch.set_default_dtype(before)
    model.config.dtype = dtype
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor = build_processor(tokenizer, tiny, shape.family)
    # As the published models have it: a run's prompts may then have a budget of fewer pixels.
    smallest = min(MIN_PIXELS, shape.image_px**2)
    processor.image_processor.size = {"shortest_edge": smallest, "longest_edge": shape.image_px**2}
    region_processor(processor, shape.family).save_pretrained(folder)
    follow_umask(folder)
    (folder / "complete").touch()
    return folder


class Models:
    """Makes the large model on the card, in a process that ends, while the next one imports."""

    def __init__(self, bench: Bench, figures: FigureFile) -> None:
        self._bench = bench

    def warm(self) -> None: ...

    def close(self) -> None: ...

    def build(self) -> None:
        on_gpu = self._bench.on_gpu
        shape = QWEN3_VL_TOY if self._bench.toy else QWEN3_VL_2B
        dtype = torch.bfloat16 if on_gpu else torch.float32
        build_model(self._bench.work / shape.name, shape, dtype, "cuda" if on_gpu else "cpu")
