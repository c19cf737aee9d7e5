"""Qwen3-VL with region tokens, for transformers."""

from typing import Any

from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from .modeling_regions import GenerationWithRegions, ModelWithRegions
from .processing_regions import ProcessorWithRegions


class RegionQwen3VLConfig(Qwen3VLConfig):
    """Qwen3-VL's configuration with another `model_type`, so that transformers without this code refuses it.

    As `qwen3_vl` it would load without the region encoder and answer questions about regions with garbage.
    """

    model_type = "sr_real_qwen3_vl"


class RegionQwen3VLProcessor(ProcessorWithRegions, Qwen3VLProcessor):
    """Qwen3-VL's processor, with regions."""


class RegionQwen3VLModel(ModelWithRegions, Qwen3VLModel):
    """Qwen3-VL's inner model, with regions."""

    config_class = RegionQwen3VLConfig


class RegionQwen3VLForConditionalGeneration(GenerationWithRegions, Qwen3VLForConditionalGeneration):
    """Qwen3-VL with `model.region_encoder`; `config.region_token_id` names its token."""

    config_class = RegionQwen3VLConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = RegionQwen3VLModel(config)
        self.post_init()


# `save_pretrained` then writes this file, and those that it imports, beside the weights.
RegionQwen3VLConfig.register_for_auto_class("AutoConfig")
RegionQwen3VLProcessor.register_for_auto_class("AutoProcessor")
RegionQwen3VLForConditionalGeneration.register_for_auto_class("AutoModelForImageTextToText")
