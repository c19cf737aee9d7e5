"""Prompts for vLLM. A group's members share one prompt, which is made once."""

import hashlib
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from spatial.sample import ReasoningPath, SpatialSample
from vlm.prompt import PromptEncoder

if TYPE_CHECKING:
    from vllm.inputs import TokensPrompt

# Of decoded images, 3 MB a megapixel; and of prompts, some without images.
_MAX_KEPT_BYTES, _MIN_BYTES = 256 * 2**20, 2**14


class EnginePrompts:
    """Prompts for one engine. It keeps those that were used last, whose decoded images take most of the memory."""

    def __init__(self, encoder: PromptEncoder, max_kept_bytes: int = _MAX_KEPT_BYTES) -> None:
        self._encoder = encoder
        self._kept: LRUCache[tuple[Any, ...], TokensPrompt] = LRUCache(max_kept_bytes, getsizeof=_num_bytes)

    def prompt(self, sample: SpatialSample, path: ReasoningPath, salt: str) -> "TokensPrompt":
        """Token ids with one placeholder for each image, the images with their marks, and a name for each.

        Args:
            salt: prompts share cached keys and values only if their salts are equal.

        Raises:
            BadImageError: an image is not in the store, or cannot be used.
        """
        # All that a prompt depends on; it does not depend on a sample's chains, answer or name.
        key = (path, sample.question, sample.images, sample.depths, sample.camera, sample.regions)
        prompt = self._kept.get(key)
        if prompt is None:
            prompt = self._make(sample, path)
            if _num_bytes(prompt) <= self._kept.maxsize:
                self._kept[key] = prompt
        return {**prompt, "cache_salt": salt}

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


def _num_bytes(prompt: Any) -> int:
    images = prompt["multi_modal_data"]["image"]
    return _MIN_BYTES + sum(len(image.getbands()) * image.width * image.height for image in images)


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
