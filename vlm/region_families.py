"""The families that can have region tokens, their configurations and processors made known to transformers.

Light: it loads no model. The engine's processes import it to read a checkpoint's configuration.
"""

from dataclasses import dataclass
from typing import Any

from transformers import (
    AutoConfig,
    AutoProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
)

from vlm.hub.configuration_regions import RegionQwen2_5_VLConfig, RegionQwen3VLConfig
from vlm.hub.processing_regions import RegionQwen2_5_VLProcessor, RegionQwen3VLProcessor


@dataclass(frozen=True)
class _Family:
    """transformers' own classes, and those that know regions."""

    plain_config: Any
    config: Any
    plain_processor: Any
    processor: Any


_FAMILIES = (
    _Family(Qwen3VLConfig, RegionQwen3VLConfig, Qwen3VLProcessor, RegionQwen3VLProcessor),
    _Family(Qwen2_5_VLConfig, RegionQwen2_5_VLConfig, Qwen2_5_VLProcessor, RegionQwen2_5_VLProcessor),
)

# Within this project the code beside a checkpoint is known, and none of it has to be trusted.
for _family in _FAMILIES:
    AutoConfig.register(_family.config.model_type, _family.config)
    AutoProcessor.register(_family.config, _family.processor)


def region_config(config: Any) -> Any:
    """A family's ordinary configuration as that of its model with region tokens."""
    (family,) = [family for family in _FAMILIES if isinstance(config, family.plain_config)]
    settings = config.to_dict()
    del settings["model_type"]
    return family.config.from_dict(settings)


def region_processor(processor: Any) -> Any:
    """A family's ordinary processor as the one that takes regions."""
    (family,) = [family for family in _FAMILIES if isinstance(processor, family.plain_processor)]
    return family.processor(
        processor.image_processor,
        processor.tokenizer,
        processor.video_processor,
        chat_template=processor.chat_template,
    )
