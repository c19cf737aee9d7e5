"""A tiny model of any family: an ordinary model folder that transformers and vLLM both load.

Left out on purpose: video, and any text that its corpus does not contain (unknown words become one unknown token).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import regex
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2VLImageProcessor, Qwen3VLVideoProcessor

from vlm.config import TinyModelConfig
from vlm.families import QWEN3_VL, Family
from vlm.files import follow_umask
from vlm.hub.region_prompts import REGION
from vlm.model_folders import region_config, region_processor

PAD, UNKNOWN, END, ASSISTANT = "<|pad|>", "<|unk|>", "<|im_end|>", "<|im_start|>"
IMAGE, VIDEO, VISION_START, VISION_END = "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"
SPECIAL = (PAD, UNKNOWN, END, ASSISTANT, IMAGE, VIDEO, VISION_START, VISION_END, REGION)
TAGS = (
    *("<think>", "</think>", "<answer>", "</answer>", "<detect>", "</detect>"),
    *('<3d_box center="', '">', "</3d_box>"),
)
# A word with the space before it, one digit, one other character, or white space. Decoding joins them without loss.
_PIECE = r" ?[A-Za-z]+|\d| ?[^\sA-Za-z\d]|\s"
_TAG = regex.compile("|".join(regex.escape(tag) for tag in TAGS))
_CHAT_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}" + VISION_START + IMAGE + VISION_END + "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}" + ASSISTANT + "{% endif %}"
)


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer of all pieces in `texts`; each digit and each tag is one token."""
    pieces: set[str] = {*"0123456789", *".,-[]() \n", " -", *(chr(c) for c in range(ord("A"), ord("Z") + 1))}
    for text in texts:
        for plain in _TAG.split(text):
            pieces.update(regex.findall(_PIECE, plain))
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *TAGS, *sorted(pieces)))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECE), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        clean_up_tokenization_spaces=False,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast, config: TinyModelConfig, family: Family = QWEN3_VL) -> Any:
    """The family's ordinary processor; it does not resize images of the configured size."""
    pixels = config.image_size_px**2
    image_processor = Qwen2VLImageProcessor(
        patch_size=config.patch_size_px,
        temporal_patch_size=2,
        merge_size=config.merge_size,
        size={"shortest_edge": pixels, "longest_edge": pixels},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    video_processor = Qwen3VLVideoProcessor(
        patch_size=config.patch_size_px, temporal_patch_size=2, merge_size=config.merge_size
    )
    return family.classes().plain_processor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        video_processor=video_processor,
        chat_template=_CHAT_TEMPLATE,
    )


def model_config(tokenizer: PreTrainedTokenizerFast, config: TinyModelConfig, family: Family = QWEN3_VL) -> Any:
    """The family's ordinary configuration of the tiny model (head tied to the embeddings)."""
    token = tokenizer.convert_tokens_to_ids
    return family.classes().plain_config(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": config.text_width,
            "intermediate_size": 3 * config.text_width,
            "num_hidden_layers": config.text_layers,
            "num_attention_heads": config.num_heads,
            "max_position_embeddings": config.max_tokens,
            "pad_token_id": token(PAD),
            "eos_token_id": token(END),
            "bos_token_id": None,
            "tie_word_embeddings": True,
            "initializer_range": config.initializer_range,
            **family.tiny_text(config),
        },
        vision_config={
            "initializer_range": config.initializer_range,
            "depth": config.vision_layers,
            "hidden_size": config.vision_width,
            "intermediate_size": 3 * config.vision_width,
            "num_heads": config.num_heads,
            "patch_size": config.patch_size_px,
            "spatial_merge_size": config.merge_size,
            "temporal_patch_size": 2,
            "out_hidden_size": config.text_width,
            **family.tiny_vision(config),
        },
        image_token_id=token(IMAGE),
        video_token_id=token(VIDEO),
        vision_start_token_id=token(VISION_START),
        vision_end_token_id=token(VISION_END),
        tie_word_embeddings=True,
        pad_token_id=token(PAD),
        eos_token_id=token(END),
    )


def build_tiny_checkpoint(
    folder: Path,
    texts: Iterable[str],
    config: TinyModelConfig,
    seed: int,
    family: Family = QWEN3_VL,
    with_regions: bool = True,
) -> None:
    """Write a randomly initialised model with its tokenizer and processor to `folder` (Hugging Face layout, fp32).

    Args:
        texts: every prompt and response text that the model will meet; their words become its vocabulary.
        seed: of the random weights; the caller's random state is left as it was.
        family: the model family.
        with_regions: whether the model has region tokens; without, it is the family's ordinary model.
    """
    tokenizer = build_tokenizer(texts)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _random_model(tokenizer, config, family, with_regions)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor = build_processor(tokenizer, config, family)
    (region_processor(processor, family) if with_regions else processor).save_pretrained(folder)
    follow_umask(folder)


def _random_model(
    tokenizer: PreTrainedTokenizerFast, config: TinyModelConfig, family: Family, with_regions: bool
) -> Any:
    plain = model_config(tokenizer, config, family)
    if not with_regions:
        return family.classes().plain_model(plain)
    regional = region_config(plain)
    regional.region_token_id = tokenizer.convert_tokens_to_ids(REGION)
    return family.classes().model(regional)
