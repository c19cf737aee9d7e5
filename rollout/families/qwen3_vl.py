"""Qwen3-VL with region tokens, for vLLM."""

from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
    Qwen3VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from rollout.families.regions import ENCODER_NAMES, RegionModel, RegionProcessing


class RegionQwen3VLProcessor(RegionProcessing, Qwen3VLMultiModalProcessor):
    """vLLM's processor for Qwen3-VL, with regions."""


@MULTIMODAL_REGISTRY.register_processor(
    RegionQwen3VLProcessor, info=Qwen3VLProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class RegionQwen3VLForConditionalGeneration(RegionModel, Qwen3VLForConditionalGeneration):
    """Qwen3-VL with region tokens."""

    hf_to_vllm_mapper = ENCODER_NAMES | Qwen3VLForConditionalGeneration.hf_to_vllm_mapper
