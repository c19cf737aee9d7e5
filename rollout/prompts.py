"""Prompts for vLLM. A group's members share one prompt, which is made once."""

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from spatial.sample import ReasoningPath, SpatialSample
from vlm.prompt import PromptEncoder

if TYPE_CHECKING:
    from vllm.inputs import TokensPrompt

_PROMPTS_KEPT = 256


class EnginePrompts:
    """Prompts for one engine. It keeps the latest few, which hold decoded images (3 MB a megapixel)."""

    def __init__(self, encoder: PromptEncoder) -> None:
        self._encoder = encoder
        self._kept: OrderedDict[tuple[Any, ...], TokensPrompt] = OrderedDict()

    def prompt(self, sample: SpatialSample, path: ReasoningPath, salt: str) -> "TokensPrompt":
        """Token ids with one placeholder for each image, the images with their marks, and a name for each.

        Args:
            salt: prompts share cached keys and values only if their salts are equal.

        Raises:
            BadImageError: an image is not in the store, or cannot be used.
        """
        # All that a prompt depends on; it does not depend on a sample's chains, answer or name.
        key = (path, sample.question, sample.images, sample.depths, sample.camera, sample.regions)
        if key not in self._kept:
            self._kept[key] = self._make(sample, path)
            if len(self._kept) > _PROMPTS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return {**self._kept[key], "cache_salt": salt}

    def _make(self, sample: SpatialSample, path: ReasoningPath) -> "TokensPrompt":
        encoded = self._encoder.encode(sample, path)
        # Only models with region tokens know this argument.
        has_tokens = self._encoder.uses_region_tokens(path)
        regions = self._encoder.regions(sample, path)
        extra = {"mm_processor_kwargs": {"regions": regions}} if has_tokens and sample.regions else {}
        return {
            **extra,
            "prompt_token_ids": self._encoder.tokenizer(encoded.text, add_special_tokens=False)["input_ids"],
            "multi_modal_data": {"image": list(encoded.images)},
            "multi_modal_uuids": {"image": image_names(sample, self._encoder.draws_regions(path))},
        }


def image_names(sample: SpatialSample, are_drawn: bool) -> list[str]:
    """Each image's name in vLLM's caches. Names are equal only if file and drawn regions are equal.

    Region tokens are no matter of the name: `rollout.families.regions` makes them a part of the cache's key.
    """
    return [
        hashlib.sha256(
            repr((ref.sha256, are_drawn, [(r.mark, r.box_xyxy_px) for r in sample.regions_of(index)])).encode()
        ).hexdigest()
        for index, ref in enumerate(sample.images)
    ]
