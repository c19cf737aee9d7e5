"""How many pixels an image has when the model sees it. Importing this needs no torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from vlm.config import PromptConfig, TinyModelConfig


class PixelLimits(NamedTuple):
    """The fewest and the most pixels of an image after its resizing: a model's own, or those of a run's prompts.

    Example: PixelLimits(65_536, 16_777_216, 32) of Qwen3-VL: an image becomes 64 to 16,384 tokens.
    """

    min_pixels: int
    max_pixels: int
    token_side_px: int
    """Side of the square of pixels that one image token stands for: the size of a patch × how many are merged."""

    @classmethod
    def of_tiny(cls, model: TinyModelConfig) -> Self:
        """Those of a tiny model, which is made for one size of image."""
        return cls(model.image_size_px**2, model.image_size_px**2, model.patch_size_px * model.merge_size)

    @classmethod
    def of_processor(cls, settings: Mapping[str, Any]) -> Self:
        """Those of an image processor of the Qwen-VL family, from its settings (as in `preprocessor_config.json`)."""
        size = settings.get("size") or {}
        # Older files have both names; the processor's own constructor prefers these, and has these defaults.
        return cls(
            settings.get("min_pixels") or size.get("shortest_edge") or 56 * 56,
            settings.get("max_pixels") or size.get("longest_edge") or 28 * 28 * 1280,
            settings.get("patch_size", 14) * settings.get("merge_size", 2),
        )

    @classmethod
    def of_folder(cls, model_folder: Path) -> Self | None:
        """Those of a model folder; None if it does not say them where they usually are."""
        for name in ("preprocessor_config.json", "processor_config.json"):
            file = model_folder / name
            settings = json.loads(file.read_text()) if file.is_file() else {}
            settings = settings.get("image_processor", settings)
            if "patch_size" in settings:
                return cls.of_processor(settings)
        return None

    @property
    def max_tokens(self) -> int:
        """Most tokens of an image, unless it is so much longer than wide that one side is a single token."""
        return self.max_pixels // self.token_side_px**2

    def within(self, prompt: PromptConfig) -> Self:
        """These limits with the budget of the prompts (`prompt.min_pixels`, `prompt.max_pixels`) in their place.

        Raises:
            ValueError: the budget is below one image token, or contradicts the limit that it leaves as it is.
        """
        side = self.token_side_px
        limits = self._replace(
            min_pixels=prompt.min_pixels or self.min_pixels, max_pixels=prompt.max_pixels or self.max_pixels
        )
        if prompt.max_pixels is not None and prompt.max_pixels < side**2:
            raise ValueError(
                f"prompt.max_pixels={prompt.max_pixels} is below one image token of this model, {side} × {side} = "
                f"{side**2} pixels: set prompt.max_pixels={side**2} or more"
            )
        if limits.min_pixels > limits.max_pixels:
            if prompt.max_pixels is not None:
                raise ValueError(
                    f"prompt.max_pixels={prompt.max_pixels} is below {limits.min_pixels}, to which this model's image "
                    f"processor enlarges a small image: set prompt.max_pixels={limits.min_pixels} or more, or lower "
                    f"the other too (prompt.min_pixels={side**2})"
                )
            raise ValueError(
                f"prompt.min_pixels={prompt.min_pixels} is above {limits.max_pixels}, the most that this model's image "
                f"processor leaves of a large image: set prompt.min_pixels={limits.max_pixels} or less, or raise the "
                f"other too (prompt.max_pixels={prompt.min_pixels})"
            )
        return limits
