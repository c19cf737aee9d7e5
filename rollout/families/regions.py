"""What all families share of region tokens in vLLM; `rollout.plugin` registers the families' models.

A request brings its regions as `mm_processor_kwargs={"regions": …}`: for each image a tuple of `RegionSpec` (see
`PromptEncoder.regions`), or of `ClientRegion` from clients of vLLM's own server. An image's placeholder is expanded to
the tokens of the image and then those of its regions, so one placeholder carries both. `is_embed` marks the tokens
whose embeddings are computed; the words before a region token keep their own.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.models.utils import WeightsMapper
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing import PromptReplacement, PromptUpdateDetails

from vlm.hub.region_encoder import RegionEncoder, region_tokens
from vlm.hub.region_inputs import REGION_TENSORS, RegionInputs
from vlm.sample_regions import RegionSpec, region_inputs, region_specs

_KEY = "regions"
_FIELDS = {field: name for name, field in REGION_TENSORS.items()}
"""vLLM's names for the fields of `RegionInputs`, beside those of images."""


def _without_regions(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key != _KEY}


class RegionProcessing:
    """The multimodal processor's part: list it before vLLM's own class in the bases."""

    def _regions(self: Any, kwargs: Mapping[str, Any]) -> tuple[tuple[RegionSpec, ...], ...] | None:
        regions = kwargs.get(_KEY)
        return region_specs(regions, self.info.get_tokenizer()) if regions else None

    def _split(self: Any, inputs: Any) -> tuple[Any, Any]:
        """The regions of a request, and its processor inputs without them."""
        kwargs = inputs.hf_processor_mm_kwargs
        return self._regions(kwargs), dataclasses.replace(inputs, hf_processor_mm_kwargs=_without_regions(kwargs))

    def _get_mm_hashes(self: Any, inputs: Any) -> Any:
        regions, plain = self._split(inputs)
        parent: Any = super()
        hashes = dict(parent._get_mm_hashes(plain))
        if regions:
            num_images = len(hashes.get("image", ()))
            if len(regions) != num_images:
                raise ValueError(f"regions are given for {len(regions)} images, but there are {num_images}")
            # An image's cache key includes its own regions, and only those.
            hashes["image"] = [
                hashlib.sha256(f"{name} {own!r}".encode()).hexdigest()
                for name, own in zip(hashes["image"], regions, strict=True)
            ]
        return hashes

    def _get_cache_missing_processor_kwargs(self: Any, inputs: Any, mm_is_cached: Mapping[str, list[bool]]) -> Any:
        regions, plain = self._split(inputs)
        parent: Any = super()
        kwargs = parent._get_cache_missing_processor_kwargs(plain, mm_is_cached)
        if not regions:
            return kwargs
        missing = tuple(own for own, is_cached in zip(regions, mm_is_cached["image"], strict=True) if not is_cached)
        return {**kwargs, _KEY: missing}

    def _apply_hf_processor_main(self: Any, mm_items: Any, hf_kwargs: Mapping[str, Any]) -> Any:
        parent: Any = super()
        data = parent._apply_hf_processor_main(mm_items, _without_regions(hf_kwargs))
        if "image_grid_thw" in data:
            grids = torch.as_tensor(data["image_grid_thw"]).view(-1, 3)
            regions = self._regions(hf_kwargs) or ((),) * len(grids)
            inputs = region_inputs(regions, grids, self.info.get_image_processor().merge_size)
            data.update({name: getattr(inputs, field) for field, name in _FIELDS.items()})
        return data

    def _get_mm_fields_config(self: Any, hf_inputs: Any, hf_processor_mm_kwargs: Mapping[str, Any]) -> Any:
        parent: Any = super()
        fields = dict(parent._get_mm_fields_config(hf_inputs, _without_regions(hf_processor_mm_kwargs)))
        if "num_regions" in hf_inputs:
            num_regions = hf_inputs["num_regions"]
            num_cells = hf_inputs["image_grid_thw"].prod(-1) // self.info.get_image_processor().merge_size ** 2
            fields |= {
                "region_coverage": MultiModalFieldConfig.flat_from_sizes("image", num_regions * num_cells),
                "region_boxes": MultiModalFieldConfig.flat_from_sizes("image", num_regions),
                "region_positions": MultiModalFieldConfig.flat_from_sizes("image", num_regions),
                "num_regions": MultiModalFieldConfig.batched("image", keep_on_cpu=True),
            }
        return fields

    def _get_prompt_updates(
        self: Any, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, Any], out_mm_kwargs: Any
    ) -> Sequence[Any]:
        regions = self._regions(hf_processor_mm_kwargs)
        parent: Any = super()
        updates = parent._get_prompt_updates(mm_items, _without_regions(hf_processor_mm_kwargs), out_mm_kwargs)
        if not regions:
            return updates
        config = self.info.get_hf_config()
        return [
            _with_regions(update, regions, [config.image_token_id, config.region_token_id])
            if update.modality == "image"
            else update
            for update in updates
        ]


def _with_regions(update: PromptReplacement, regions: Sequence[Any], embed_token_ids: list[int]) -> PromptReplacement:
    """The expansion of an image's placeholder, followed by the tokens of its regions."""

    def replacement(index: int) -> PromptUpdateDetails:
        assert callable(update.replacement)
        tokens = [*update.replacement(index), *(token for region in regions[index] for token in region.token_ids)]
        return PromptUpdateDetails.select_token_ids(tokens, embed_token_ids)

    return PromptReplacement(modality="image", target=update.target, replacement=replacement)


# Before the parent's rule for "model.", which would move the encoder into the language model.
ENCODER_NAMES = WeightsMapper(orig_to_new_prefix={"model.region_encoder.": "region_encoder."})


class RegionModel:
    """The model's part: list it before vLLM's own class in the bases."""

    def __init__(self: Any, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        self.region_encoder = RegionEncoder(vllm_config.model_config.hf_config.text_config.hidden_size)

    def embed_multimodal(self: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        """Each image's tokens, followed by those of its regions; further levels (DeepStack) of a region are zeros."""
        found = {field: kwargs.pop(name, None) for field, name in _FIELDS.items()}
        parent: Any = super()
        images = parent.embed_multimodal(**kwargs)
        if found["num_regions"] is None or found["boxes"] is None or len(found["boxes"]) == 0:
            return images
        width = self.region_encoder.fc2.out_features
        main = [image[:, :width] for image in images]
        tokens = region_tokens(self.region_encoder, main, RegionInputs(**found))
        return tuple(
            torch.cat([image, torch.nn.functional.pad(own, (0, image.shape[1] - width))])
            for image, own in zip(images, tokens, strict=True)
        )
