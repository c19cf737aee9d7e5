"""What a layer keeps for its backward pass, as PyTorch saves it, against the formulas of memory."""

import importlib
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from launch.machine.memory import layer_bytes, vision_layer_bytes
from launch.machine.shapes import ModelShape, VisionShape
from learner.config import LearnerConfig

NUM_TOKENS = 512
# Folder, module in transformers, and the head of the names of its classes.
QWEN3 = ("Qwen3-VL-4B-Instruct", "qwen3_vl.modeling_qwen3_vl", "Qwen3VL")
QWEN25 = ("Qwen2.5-VL-7B-Instruct", "qwen2_5_vl.modeling_qwen2_5_vl", "Qwen2_5_VL")
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def kept_bytes_per_token(layer: torch.nn.Module, *inputs: object, **others: object) -> float:
    """Bytes of all tensors that autograd keeps, weights not counted, each storage once."""
    own = {weight.untyped_storage().data_ptr() for weight in layer.parameters()}
    # The tensor itself is kept too, so that no other comes to lie at its address.
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(*inputs, **others)
    return sum(num_bytes for num_bytes, _ in kept.values()) / NUM_TOKENS


def built(family: tuple[str, str, str], name: str, config: Any, dtype: torch.dtype, *arguments: int) -> torch.nn.Module:
    config._attn_implementation = "sdpa"
    layer = getattr(importlib.import_module(f"transformers.models.{family[1]}"), family[2] + name)
    made: torch.nn.Module = layer(config, *arguments).to(dtype)
    return made


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", [QWEN3, QWEN25])
def test_a_layer_of_language_keeps_what_is_counted(family: tuple[str, str, str], dtype: str) -> None:
    config = AutoConfig.from_pretrained(f"tests/shapes/{family[0]}").text_config
    # A quarter of the width, but heads as wide as they are: in Qwen3-VL-4B queries are wider than the layer.
    config.hidden_size, config.intermediate_size = config.hidden_size // 4, config.intermediate_size // 4
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 8, 2, 128
    shape = ModelShape(
        num_parameters=0,
        num_trained=0,
        num_layers=1,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        query_size=8 * 128,
        kv_size=2 * 128,
        has_head_norms=family is QWEN3,
        vocab_size=0,
    )
    if family is QWEN25:  # its heads share out the width
        config.num_attention_heads, config.num_key_value_heads = 7, 1
        shape = ModelShape(**{**vars(shape), "query_size": 7 * 128, "kv_size": 128})
    layer = built(family, "TextDecoderLayer" if family is QWEN3 else "DecoderLayer", config, DTYPES[dtype], 0)
    hidden = torch.randn(1, NUM_TOKENS, config.hidden_size, dtype=DTYPES[dtype], requires_grad=True)
    turns = torch.randn(1, NUM_TOKENS, 128, dtype=DTYPES[dtype])
    kept = kept_bytes_per_token(layer, hidden, position_embeddings=(turns, turns), attention_mask=None)
    # Cosines and sines, which all layers share, and a few numbers a head are not counted.
    assert kept == pytest.approx(layer_bytes(shape, dtype), rel=0.05)
    assert kept > layer_bytes(shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", [QWEN3, QWEN25])
def test_a_layer_of_the_vision_tower_keeps_what_is_counted(family: tuple[str, str, str], dtype: str) -> None:
    folder = f"tests/shapes/{family[0]}"
    config, vision = (
        AutoConfig.from_pretrained(folder).vision_config,
        ModelShape.of_model(folder, LearnerConfig()).vision,
    )
    assert isinstance(vision, VisionShape)
    layer = built(family, "VisionBlock", config, DTYPES[dtype])
    patches = torch.randn(NUM_TOKENS, config.hidden_size, dtype=DTYPES[dtype], requires_grad=True)
    turns = torch.randn(NUM_TOKENS, config.hidden_size // config.num_heads)
    ends = torch.tensor([0, NUM_TOKENS], dtype=torch.int32)
    kept = kept_bytes_per_token(layer, patches, cu_seqlens=ends, position_embeddings=(turns, turns))
    assert kept == pytest.approx(vision_layer_bytes(vision, dtype), rel=0.02)
    assert kept > vision_layer_bytes(vision, dtype)


def test_published_models_keep_what_was_counted_of_them() -> None:
    def of(name: str) -> float:
        return layer_bytes(ModelShape.of_model(f"tests/shapes/{name}", LearnerConfig()), "bfloat16")

    # 8 × 6,144 + 16 × 2,048 + 10 × (2,048 + 1,024); without norms of heads 8 × 18,944 + 16 × 3,584 + 4 × (3,584 + 512).
    assert (of("Qwen3-VL-2B-Instruct"), of("Qwen2.5-VL-7B-Instruct")) == (112_640, 225_280)
    # Queries of 32 heads × 128 in a layer 2,560 wide: 8 × 9,728 + 16 × 2,560 + 10 × (4,096 + 1,024).
    assert of("Qwen3-VL-4B-Instruct") == 169_984
