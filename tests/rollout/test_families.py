"""The other family: a Qwen2.5-VL checkpoint goes through the same code, by its path alone."""

from pathlib import Path as FilePath

import pytest
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from rollout.config import EngineConfig
from rollout.engine import RolloutEngine
from vlm.config import TinyModelConfig
from vlm.policy import load_policy
from vlm.prompt import PromptEncoder
from vlm.tiny import END, IMAGE, PAD, VIDEO, VISION_END, VISION_START, build_processor, build_tokenizer

from .conftest import PROMPT, QUESTION, RESPONSE, TRANSFER, EngineHost, TinyWorld

pytestmark = [pytest.mark.stack, pytest.mark.slow]


def build_qwen25(folder: FilePath) -> None:
    """A random Qwen2.5-VL with the tiny tokenizer, in the ordinary layout."""
    tokenizer = build_tokenizer([QUESTION + " red point blue point detect think", RESPONSE])
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
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    processor = build_processor(tokenizer, TinyModelConfig())
    Qwen2_5_VLProcessor(
        image_processor=processor.image_processor,
        tokenizer=tokenizer,
        video_processor=processor.video_processor,
        chat_template=processor.chat_template,
    ).save_pretrained(folder)


def test_engine_and_learner_agree_on_a_qwen25_vl_before_and_after_a_push(world: TinyWorld, tmp_path: FilePath) -> None:
    build_qwen25(tmp_path / "model")
    other = TinyWorld(
        tmp_path / "model", world.images, world.samples, PromptEncoder(tmp_path / "model", world.images, PROMPT)
    )
    policy = load_policy(other.checkpoint)
    config = EngineConfig(max_model_len=512, max_num_seqs=16, kv_cache_gib=0.25, transfer=TRANSFER)
    host = EngineHost(RolloutEngine(other.checkpoint, other.images, PROMPT, config, "rollout-0", cpu_cores=(0,)))

    def difference() -> float:
        trajectory = host.run(host.engine.generate(other.request(seed=1)))
        mine = other.learner_logprobs(policy, trajectory)
        return float((torch.tensor(trajectory.rollout_logprobs) - mine).abs().max())

    try:
        host.run(host.engine.start())
        assert difference() < 1e-4
        with torch.no_grad():
            for parameter in policy.vlm.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        assert difference() > 1e-3
        host.push(policy, version=1)
        assert difference() < 1e-4
    finally:
        host.close()
