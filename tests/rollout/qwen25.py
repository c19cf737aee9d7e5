"""The other family: a tiny Qwen2.5-VL, in the ordinary layout."""

from pathlib import Path

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from vlm.config import TinyModelConfig
from vlm.region_models import add_regions
from vlm.tiny import END, IMAGE, PAD, VIDEO, VISION_END, VISION_START, build_processor, build_tokenizer

from .conftest import QUESTION, RESPONSE


def build_qwen25(folder: Path) -> None:
    """A random Qwen2.5-VL with the tiny tokenizer in the ordinary layout, and a copy that was given region tokens."""
    tokenizer = build_tokenizer([QUESTION + " red point: blue point: detect think", RESPONSE])
    token = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
            "pad_token_id": token(PAD),
            "eos_token_id": token(END),
            "bos_token_id": None,
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_heads": 4,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 128,
            "window_size": 64,
            "fullatt_block_indexes": [1],
        },
        image_token_id=token(IMAGE),
        video_token_id=token(VIDEO),
        vision_start_token_id=token(VISION_START),
        vision_end_token_id=token(VISION_END),
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder / "plain")
    processor = build_processor(tokenizer, TinyModelConfig())
    Qwen2_5_VLProcessor(
        image_processor=processor.image_processor,
        tokenizer=tokenizer,
        video_processor=processor.video_processor,
        chat_template=processor.chat_template,
    ).save_pretrained(folder / "plain")
    add_regions(folder / "plain", folder / "model", seed=0)
