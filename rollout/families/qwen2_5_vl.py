"""Qwen2.5-VL with region tokens, for vLLM."""

from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from rollout.families.regions import ENCODER_NAMES, RegionModel, RegionProcessing


class RegionQwen2_5_VLProcessor(RegionProcessing, Qwen2_5_VLMultiModalProcessor):  # noqa: N801 - the family's own name
    """vLLM's processor for Qwen2.5-VL, with regions."""


@MULTIMODAL_REGISTRY.register_processor(
    RegionQwen2_5_VLProcessor, info=Qwen2_5_VLProcessingInfo, dummy_inputs=Qwen2_5_VLDummyInputsBuilder
)
class RegionQwen2_5_VLForConditionalGeneration(RegionModel, Qwen2_5_VLForConditionalGeneration):  # noqa: N801
    """Qwen2.5-VL with region tokens."""

    hf_to_vllm_mapper = ENCODER_NAMES | Qwen2_5_VLForConditionalGeneration.hf_to_vllm_mapper
