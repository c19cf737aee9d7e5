"""What every family's model does for region tokens: the family's own model with one more module.

    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)

Called without regions, it is the parent. A batch whose rows have no regions gives bit-identical results.
"""

from typing import Any

import torch
from torch import Tensor

from .region_encoder import RegionEncoder, region_tokens
from .region_inputs import NUM_POSITION_FEATURES, REGION_TENSORS, RegionInputs


class ModelWithRegions:
    """The inner model's part: list it before the family's own class in the bases."""

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
        # The outer model passes None for arguments that its caller left out; some are computed here.
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
        """Under ZeRO-3 every rank must run every module forward and backward, even if its rows have no regions."""
        pooled, box, position = (like.new_zeros(1, size) for size in (like.shape[-1], 4, NUM_POSITION_FEATURES))
        return self.region_encoder(pooled, box, position)


class GenerationWithRegions:
    """The outer model's part: list it before the family's own class in the bases."""

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
        """Regions are read with the prompt; for later tokens they are in the cache.

        They are `RegionInputs`, or a processor's four tensors. (`generate` refuses arguments that are not named here.)
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
