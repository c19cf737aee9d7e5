"""Hugging Face model folders with and without region tokens: how to tell them, how an ordinary one gains the tokens.

Importing this makes the families' configurations, processors and models with region tokens known to transformers, in
the engine's processes too. No code beside the weights has to be trusted then.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AddedToken, AutoConfig, AutoModelForImageTextToText, AutoProcessor

from vlm.errors import CheckpointError
from vlm.families import FAMILIES, Family, family_of
from vlm.files import follow_umask
from vlm.hub.region_prompts import REGION

for _classes in (family.classes() for family in FAMILIES):
    AutoConfig.register(_classes.config.model_type, _classes.config)
    AutoProcessor.register(_classes.config, _classes.processor)
    AutoModelForImageTextToText.register(_classes.config, _classes.model)

_REGION_ARCHITECTURES = {family.region_architecture for family in FAMILIES}


def knows_regions(model_folder: Path | str) -> bool:
    """Whether a model folder has region tokens."""
    return _has_regions(AutoConfig.from_pretrained(str(model_folder)))


def load_model_config(model_folder: Path | str) -> Any:
    """A model folder's configuration. Older ones with region tokens name their family's plain type."""
    config = AutoConfig.from_pretrained(str(model_folder))
    return region_config(config) if _has_regions(config) else config


def model_class(config: Any) -> Any:
    """The class that loads a model folder with this configuration."""
    classes = family_of(config.model_type).classes()
    return classes.model if _has_regions(config) else classes.plain_model


def load_processor(model_folder: Path | str) -> Any:
    """A model folder's processor; with regions if its model has them (older ones name the plain processor)."""
    processor = AutoProcessor.from_pretrained(str(model_folder))
    if not knows_regions(model_folder) or hasattr(processor, "paths"):
        return processor
    return region_processor(processor, family_of(AutoConfig.from_pretrained(str(model_folder)).model_type))


def region_config(config: Any) -> Any:
    """A family's ordinary configuration as that of its model with region tokens."""
    settings = config.to_dict()
    del settings["model_type"]
    return family_of(config.model_type).classes().config.from_dict(settings)


def region_processor(processor: Any, family: Family) -> Any:
    """A family's ordinary processor as the one that takes regions."""
    return family.classes().processor(
        processor.image_processor,
        processor.tokenizer,
        processor.video_processor,
        chat_template=processor.chat_template,
    )


def add_region_token(tokenizer: Any) -> None:
    """Teach a tokenizer the token; one that knows it stays as it is."""
    tokenizer.add_tokens([AddedToken(REGION, special=True, normalized=False)])


def add_regions(model_folder: Path | str, folder: Path, seed: int) -> None:
    """Write a copy of an ordinary model folder that has region tokens.

    The old weights stay bit-identical; only `model.region_encoder` is new, and random. The token takes a spare row of
    the embeddings, or a new one if there is none left.

    Raises:
        CheckpointError: it is of no known family or of another class, has region tokens already, or lacks a weight.
    """
    config = AutoConfig.from_pretrained(str(model_folder))
    family = family_of(config.model_type, f"model folder {model_folder}")
    if _has_regions(config):
        raise CheckpointError(f"model folder {model_folder} has region tokens already")
    if config.architectures[0] != family.architecture:
        raise CheckpointError(
            f"model folder {model_folder}: a {config.architectures[0]} cannot have region tokens, only a "
            f"{family.architecture} can"
        )
    processor = region_processor(AutoProcessor.from_pretrained(str(model_folder)), family)
    add_region_token(processor.tokenizer)
    config = region_config(config)
    config.region_token_id = processor.tokenizer.convert_tokens_to_ids(REGION)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, info = family.classes().model.from_pretrained(
            str(model_folder), config=config, dtype="auto", output_loading_info=True
        )
    if missing := sorted(name for name in info["missing_keys"] if not name.startswith("model.region_encoder.")):
        raise CheckpointError(f"model folder {model_folder} lacks {', '.join(missing[:5])}")
    if config.region_token_id >= model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(config.region_token_id + 1, mean_resizing=False)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    follow_umask(folder)


def _has_regions(config: Any) -> bool:
    return config.architectures[0] in _REGION_ARCHITECTURES
