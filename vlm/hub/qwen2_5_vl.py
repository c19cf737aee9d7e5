"""Qwen2.5-VL with region tokens, for transformers."""

from typing import Any

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

from .modeling_regions import GenerationWithRegions, ModelWithRegions
from .processing_regions import ProcessorWithRegions


class RegionQwen2_5_VLConfig(Qwen2_5_VLConfig):  # noqa: N801 - the family's own name
    """Qwen2.5-VL's configuration with another `model_type`, so that transformers without this code refuses it."""

    model_type = "sr_real_qwen2_5_vl"


class RegionQwen2_5_VLProcessor(ProcessorWithRegions, Qwen2_5_VLProcessor):  # noqa: N801
    """Qwen2.5-VL's processor, with regions."""


class RegionQwen2_5_VLModel(ModelWithRegions, Qwen2_5_VLModel):  # noqa: N801
    """Qwen2.5-VL's inner model, with regions."""

    config_class = RegionQwen2_5_VLConfig


class RegionQwen2_5_VLForConditionalGeneration(GenerationWithRegions, Qwen2_5_VLForConditionalGeneration):  # noqa: N801
    """Qwen2.5-VL with `model.region_encoder`; `config.region_token_id` names its token."""

    config_class = RegionQwen2_5_VLConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = RegionQwen2_5_VLModel(config)
        self.post_init()


# `save_pretrained` then writes this file, and those that it imports, beside the weights.
RegionQwen2_5_VLConfig.register_for_auto_class("AutoConfig")
RegionQwen2_5_VLProcessor.register_for_auto_class("AutoProcessor")
RegionQwen2_5_VLForConditionalGeneration.register_for_auto_class("AutoModelForImageTextToText")

# Published weights of Qwen2.5-VL have older names than its modules. transformers renames them for its own classes
# only; these are its rules (`conversion_mapping.py`), except that the region encoder keeps its name.
register_checkpoint_conversion_mapping(
    RegionQwen2_5_VLForConditionalGeneration.__name__,
    [
        WeightRenaming(source_patterns=r"^visual", target_patterns="model.visual"),
        WeightRenaming(
            source_patterns=r"^model(?!\.(language_model|visual|region_encoder))",
            target_patterns="model.language_model",
        ),
    ],
    overwrite=True,
)
