"""The models that know region tokens, made known to transformers, and how an ordinary checkpoint becomes one."""

from pathlib import Path
from typing import Any

import torch
from transformers import AddedToken, AutoConfig, AutoModelForImageTextToText, AutoProcessor

from vlm.errors import CheckpointError
from vlm.files import follow_umask
from vlm.hub.configuration_regions import RegionQwen2_5_VLConfig, RegionQwen3VLConfig
from vlm.hub.modeling_regions import RegionQwen2_5_VLForConditionalGeneration, RegionQwen3VLForConditionalGeneration
from vlm.hub.region_prompts import REGION
from vlm.region_families import region_config, region_processor

MODELS = {
    model.__name__: model for model in (RegionQwen3VLForConditionalGeneration, RegionQwen2_5_VLForConditionalGeneration)
}
"""By the name that a checkpoint's config.json gives in `architectures`."""

for _config, _model in (
    (RegionQwen3VLConfig, RegionQwen3VLForConditionalGeneration),
    (RegionQwen2_5_VLConfig, RegionQwen2_5_VLForConditionalGeneration),
):
    AutoModelForImageTextToText.register(_config, _model)


def knows_regions(checkpoint: Path | str) -> bool:
    """Whether a checkpoint has region tokens."""
    return AutoConfig.from_pretrained(str(checkpoint)).architectures[0] in MODELS


def load_model_config(checkpoint: Path | str) -> Any:
    """A checkpoint's configuration; older ones with region tokens call themselves by their family's plain type."""
    config = AutoConfig.from_pretrained(str(checkpoint))
    return region_config(config) if config.architectures[0] in MODELS else config


def load_processor(checkpoint: Path | str) -> Any:
    """A checkpoint's processor; one that knows regions where its model does (older checkpoints name the plain one)."""
    processor = AutoProcessor.from_pretrained(str(checkpoint))
    if not knows_regions(checkpoint) or hasattr(processor, "paths"):
        return processor
    return region_processor(processor)


def add_regions(checkpoint: Path | str, folder: Path, seed: int) -> None:
    """Write a copy of a Qwen3-VL or Qwen2.5-VL checkpoint that has region tokens.

    Old weights stay as they are, to the bit; only `model.region_encoder` is new, and random. The token takes a spare
    row of the embeddings, or a new one where there is none left.

    Raises:
        CheckpointError: it is of another family, or a weight is missing.
    """
    config = AutoConfig.from_pretrained(str(checkpoint))
    architecture = f"Region{config.architectures[0]}"
    if architecture not in MODELS:
        raise CheckpointError(
            f"checkpoint {checkpoint}: a {config.architectures[0]} cannot have region tokens; only "
            f"{', '.join(name.removeprefix('Region') for name in MODELS)} can (or draw them: prompt.regions=marks)"
        )
    processor = region_processor(AutoProcessor.from_pretrained(str(checkpoint)))
    processor.tokenizer.add_tokens([AddedToken(REGION, special=True, normalized=False)])
    config = region_config(config)
    config.region_token_id = processor.tokenizer.convert_tokens_to_ids(REGION)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, info = MODELS[architecture].from_pretrained(
            str(checkpoint), config=config, dtype="auto", output_loading_info=True
        )
    if missing := sorted(name for name in info["missing_keys"] if not name.startswith("model.region_encoder.")):
        raise CheckpointError(f"checkpoint {checkpoint} lacks {', '.join(missing[:5])}")
    if config.region_token_id >= model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(config.region_token_id + 1, mean_resizing=False)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    follow_umask(folder)
