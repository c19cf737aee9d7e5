"""Qwen3-VL and Qwen2.5-VL that understand region tokens: ordinary Hugging Face models with one module more.

Called without regions, they are the parent. A batch whose rows happen to have none gives the same to the bit.
"""

from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AddedToken,
    AutoConfig,
    AutoProcessor,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
)
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from vlm.errors import CheckpointError
from vlm.region_encoder import RegionEncoder, region_tokens
from vlm.region_inputs import RegionInputs
from vlm.region_position import NUM_POSITION_FEATURES
from vlm.regions import REGION


class _WithRegions:
    """What both families' inner models do for regions, to stand before the parent in the bases."""

    def __init__(self: Any, config: Any) -> None:
        parent: Any = super()
        parent.__init__(config)
        self.region_encoder = RegionEncoder(config.text_config.hidden_size)
        self.post_init()

    def forward(self: Any, input_ids: Tensor | None = None, regions: RegionInputs | None = None, **inputs: Any) -> Any:
        """As the parent's, with the regions of the batch's images.

        Raises:
            ValueError: as many `<|region|>` tokens as regions are needed, and there are not.
        """
        parent: Any = super()
        if regions is None:
            return parent.forward(input_ids=input_ids, **inputs)
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
        position_ids = self.compute_3d_position_ids(
            input_ids=input_ids,
            inputs_embeds=embeds,
            image_grid_thw=inputs["image_grid_thw"],
            video_grid_thw=None,
            past_key_values=None,
            attention_mask=inputs.get("attention_mask"),
            mm_token_type_ids=inputs.get("mm_token_type_ids"),
        )
        return parent.forward(inputs_embeds=embeds, position_ids=position_ids, mm_encoder_outputs=encoded, **inputs)

    def _encode_nothing(self: Any, like: Tensor) -> Tensor:
        """Under ZeRO-3 every rank must go through every module, and back, whether its rows have regions or not."""
        pooled, box, position = (like.new_zeros(1, size) for size in (like.shape[-1], 4, NUM_POSITION_FEATURES))
        return self.region_encoder(pooled, box, position)


class RegionQwen3VLModel(_WithRegions, Qwen3VLModel):
    """Qwen3-VL's inner model, with regions."""


class RegionQwen2_5_VLModel(_WithRegions, Qwen2_5_VLModel):  # noqa: N801 - the family's own name
    """Qwen2.5-VL's inner model, with regions."""


class RegionQwen3VLForConditionalGeneration(Qwen3VLForConditionalGeneration):
    """Qwen3-VL with `model.region_encoder`; `config.region_token_id` names its token."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = RegionQwen3VLModel(config)
        self.post_init()


class RegionQwen2_5_VLForConditionalGeneration(Qwen2_5_VLForConditionalGeneration):  # noqa: N801
    """Qwen2.5-VL with `model.region_encoder`; `config.region_token_id` names its token."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = RegionQwen2_5_VLModel(config)
        self.post_init()


MODELS = {
    model.__name__: model for model in (RegionQwen3VLForConditionalGeneration, RegionQwen2_5_VLForConditionalGeneration)
}
"""By the name that a checkpoint's config.json gives in `architectures`."""


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


def knows_regions(checkpoint: FilePath | str) -> bool:
    """Whether a checkpoint has region tokens."""
    return AutoConfig.from_pretrained(str(checkpoint)).architectures[0] in MODELS


def add_regions(checkpoint: FilePath | str, folder: FilePath, seed: int) -> None:
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
    processor = AutoProcessor.from_pretrained(str(checkpoint))
    processor.tokenizer.add_tokens([AddedToken(REGION, special=True, normalized=False)])
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
