"""Qwen3-VL and Qwen2.5-VL that understand region tokens: the family's own model with one module more.

    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)

Called without regions, they are the parent. A batch whose rows happen to have none gives the same to the bit.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from .configuration_regions import RegionQwen2_5_VLConfig, RegionQwen3VLConfig
from .region_encoder import RegionEncoder, region_tokens
from .region_inputs import NUM_POSITION_FEATURES, REGION_TENSORS, RegionInputs


class _ModelWithRegions:
    """What both families' inner models do for regions, to stand before the parent in the bases."""

    def __init__(self: Any, config: Any) -> None:
        parent: Any = super()
        parent.__init__(config)
        self.region_encoder = RegionEncoder(config.text_config.hidden_size)
        self.post_init()

    def forward(self: Any, input_ids: Tensor | None = None, regions: RegionInputs | None = None, **inputs: Any) -> Any:
        """As the parent's, with the regions of the batch's images: `RegionInputs`, or a processor's four tensors.

        Raises:
            ValueError: there are more or fewer `<|region|>` tokens than regions.
        """
        parent: Any = super()
        tensors = {field: inputs.pop(name, None) for name, field in REGION_TENSORS.items()}
        if tensors["num_regions"] is not None:
            regions = RegionInputs(**tensors)
        if regions is None:
            return parent.forward(input_ids=input_ids, **inputs)
        regions = regions.to(self.device)
        # The outer model hands on None for whatever its caller left out; some of it is made here.
        inputs = {name: value for name, value in inputs.items() if value is not None}
        encoded = inputs.pop("mm_encoder_outputs", {})
        if "image" not in encoded:
            pixels, grid = inputs.pop("pixel_values"), inputs["image_grid_thw"]
            encoded = {"image": self.get_image_features(pixels, grid, return_dict=True)}
        vision = encoded["image"]
        embeds = self.get_input_embeddings()(input_ids)
        if len(regions.boxes) > 0:
            tokens = torch.cat(region_tokens(self.region_encoder, vision.pooler_output, regions))
            places = input_ids == self.config.region_token_id
            if int(places.sum()) != len(tokens):
                raise ValueError(f"{int(places.sum())} <|region|> tokens for {len(tokens)} regions")
            embeds = embeds.masked_scatter(places[..., None], tokens.to(embeds.dtype))
        else:
            embeds = embeds + 0.0 * self._encode_nothing(embeds).sum()
        if "position_ids" not in inputs:
            inputs["position_ids"] = self.compute_3d_position_ids(
                input_ids=input_ids,
                inputs_embeds=embeds,
                image_grid_thw=inputs["image_grid_thw"],
                video_grid_thw=None,
                past_key_values=None,
                attention_mask=inputs.get("attention_mask"),
                mm_token_type_ids=inputs.get("mm_token_type_ids"),
            )
        return parent.forward(inputs_embeds=embeds, mm_encoder_outputs=encoded, **inputs)

    def _encode_nothing(self: Any, like: Tensor) -> Tensor:
        """Under ZeRO-3 every rank must go through every module, and back, whether its rows have regions or not."""
        pooled, box, position = (like.new_zeros(1, size) for size in (like.shape[-1], 4, NUM_POSITION_FEATURES))
        return self.region_encoder(pooled, box, position)


class RegionQwen3VLModel(_ModelWithRegions, Qwen3VLModel):
    """Qwen3-VL's inner model, with regions."""

    config_class = RegionQwen3VLConfig


class RegionQwen2_5_VLModel(_ModelWithRegions, Qwen2_5_VLModel):  # noqa: N801
    """Qwen2.5-VL's inner model, with regions."""

    config_class = RegionQwen2_5_VLConfig


class _GenerationWithRegions:
    """What both families' outer models do for regions, to stand before the parent in the bases."""

    def prepare_inputs_for_generation(
        self: Any,
        *args: Any,
        is_first_iteration: bool = False,
        regions: RegionInputs | None = None,
        region_coverage: Any = None,
        region_boxes: Any = None,
        region_positions: Any = None,
        num_regions: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Regions are read with the prompt; later tokens find them in the cache.

        They come as `RegionInputs`, or as a processor's four tensors. (`generate` refuses what is not named here.)
        """
        parent: Any = super()
        inputs = parent.prepare_inputs_for_generation(*args, is_first_iteration=is_first_iteration, **kwargs)
        if num_regions is not None:
            regions = RegionInputs(region_coverage, region_boxes, region_positions, num_regions)
        if is_first_iteration or not kwargs.get("use_cache", True):
            inputs["regions"] = regions
        return inputs

    def _expand_inputs_for_generation(
        self: Any, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Any = None, **kwargs: Any
    ) -> Any:
        """Several responses to a prompt: each row's regions are repeated with its images."""
        found = {name: kwargs.pop(name, None) for name in REGION_TENSORS}
        regions = kwargs.pop("regions", None)
        if found["num_regions"] is not None:
            regions = RegionInputs(**{REGION_TENSORS[name]: value for name, value in found.items()})
        if regions is not None:
            kwargs["regions"] = regions
            if expand_size > 1:
                # `generate` has encoded the images by now.
                num_cells = [len(image) for image in kwargs["mm_encoder_outputs"]["image"].pooler_output]
                kwargs["regions"] = self._repeat(regions, expand_size, input_ids, num_cells)
        parent: Any = super()
        return parent._expand_inputs_for_generation(
            expand_size=expand_size, is_encoder_decoder=is_encoder_decoder, input_ids=input_ids, **kwargs
        )

    def _repeat(self: Any, regions: RegionInputs, times: int, input_ids: Tensor, num_cells: list[int]) -> RegionInputs:
        images = iter(zip(regions.by_image(num_cells), num_cells, strict=True))
        repeated: list[RegionInputs] = []
        # A row's image tokens are those of its images, in order.
        for num_tokens in (input_ids == self.config.image_token_id).sum(-1).tolist():
            row: list[RegionInputs] = []
            while num_tokens > 0:
                image, num_own_tokens = next(images)
                row.append(image)
                num_tokens -= num_own_tokens
            repeated += row * times
        return RegionInputs.cat(repeated)


class RegionQwen3VLForConditionalGeneration(_GenerationWithRegions, Qwen3VLForConditionalGeneration):
    """Qwen3-VL with `model.region_encoder`; `config.region_token_id` names its token."""

    config_class = RegionQwen3VLConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = RegionQwen3VLModel(config)
        self.post_init()


class RegionQwen2_5_VLForConditionalGeneration(_GenerationWithRegions, Qwen2_5_VLForConditionalGeneration):  # noqa: N801
    """Qwen2.5-VL with `model.region_encoder`; `config.region_token_id` names its token."""

    config_class = RegionQwen2_5_VLConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = RegionQwen2_5_VLModel(config)
        self.post_init()


# `save_pretrained` then writes this file and those that it imports beside the weights.
for _model in (RegionQwen3VLForConditionalGeneration, RegionQwen2_5_VLForConditionalGeneration):
    _model.register_for_auto_class("AutoModelForImageTextToText")

# Checkpoints of Qwen2.5-VL have older names than its modules. transformers translates them for its own classes only;
# these are its rules (`conversion_mapping.py`), with the region encoder left where it is.
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
