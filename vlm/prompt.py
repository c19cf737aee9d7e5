"""From a sample and a path to what the model reads. Engine and learner both come through here, so they agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path as FilePath

import torch
from jaxtyping import Float, Int
from PIL import Image
from transformers import AutoProcessor

from spatial.images import ImageStore
from spatial.prompts import instruction
from spatial.sample import Path, SpatialSample
from vlm.config import PromptConfig
from vlm.regions import describe_regions, draw_marks


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as text, with one image placeholder an image (not yet expanded), and the images it shows."""

    text: str
    images: tuple[Image.Image, ...]


@dataclass(frozen=True)
class VisionInputs:
    """The images of one prompt as the vision tower takes them."""

    pixel_values: Float[torch.Tensor, "patches patch_values"]
    image_grid_thw: Int[torch.Tensor, "images 3"]
    """Patches in time, height, width, per image."""


def question_text(sample: SpatialSample, path: Path, config: PromptConfig) -> str:
    """What the user says: the question, where its regions are, and the path's instruction."""
    regions = describe_regions(sample.regions, sample.images, config.coordinate_grid)
    return " ".join(filter(None, [sample.question, regions, instruction(path, config.instructions)]))


class PromptEncoder:
    """Turns samples into prompts, and prompts into token ids and pixel values, with a checkpoint's own processor."""

    def __init__(self, checkpoint: FilePath | str, images: ImageStore, config: PromptConfig) -> None:
        self._processor = AutoProcessor.from_pretrained(str(checkpoint))
        self._images = images
        self._config = config
        self.tokenizer = self._processor.tokenizer
        self.image_token_id: int = self._processor.image_token_id
        self.banned_token_ids: tuple[int, ...] = (self._processor.image_token_id, self._processor.video_token_id)
        """Never sampled, see `vlm.policy.banned_token_ids`."""
        self.end_token_id: int = self.tokenizer.eos_token_id
        self.pad_token_id: int = self.tokenizer.pad_token_id
        if self.pad_token_id == self.end_token_id:
            raise ValueError(
                f"checkpoint {checkpoint}: pad_token_id equals eos_token_id ({self.end_token_id}), so the end of a "
                "response could not be learned; give the tokenizer a padding token of its own"
            )
        # A group's members and an update's micro-batches ask for the same prompt again and again.
        self._vision_inputs = lru_cache(maxsize=256)(self._compute_vision_inputs)

    def encode(self, sample: SpatialSample, path: Path) -> EncodedPrompt:
        """The prompt that asks `sample` through `path`.

        Raises:
            FileNotFoundError: an image is not in the store.
        """
        return EncodedPrompt(text=self.text(sample, path), images=self.marked_images(sample))

    def text(self, sample: SpatialSample, path: Path) -> str:
        """The prompt's text, with one image placeholder an image."""
        question = question_text(sample, path, self._config)
        content = [*({"type": "image"} for _ in sample.images), {"type": "text", "text": question}]
        return self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )

    def marked_images(self, sample: SpatialSample) -> tuple[Image.Image, ...]:
        """The sample's images with its regions drawn on them."""
        return tuple(
            draw_marks(
                self._images.open(ref),
                [region for region in sample.regions if region.image_index == index],
                self._config.mark_width_px,
            )
            for index, ref in enumerate(sample.images)
        )

    def prompt_token_ids(self, sample: SpatialSample, path: Path) -> tuple[int, ...]:
        """The prompt's tokens with every image placeholder expanded to its image's number of tokens."""
        grids = self.vision_inputs(sample).image_grid_thw.tolist()
        counts = iter([t * h * w // self._processor.image_processor.merge_size**2 for t, h, w in grids])
        ids: list[int] = []
        for token in self.tokenizer(self.text(sample, path), add_special_tokens=False)["input_ids"]:
            ids.extend([token] * next(counts) if token == self.image_token_id else [token])
        return tuple(ids)

    def response_token_ids(self, text: str) -> tuple[int, ...]:
        """A response's tokens, the end token included."""
        return (*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.end_token_id)

    def vision_inputs(self, sample: SpatialSample) -> VisionInputs:
        """The sample's marked images as pixel values (cached)."""
        return self._vision_inputs(_HashedSample(sample))

    def _compute_vision_inputs(self, hashed: "_HashedSample") -> VisionInputs:
        inputs = self._processor.image_processor(images=list(self.marked_images(hashed.sample)), return_tensors="pt")
        return VisionInputs(pixel_values=inputs["pixel_values"], image_grid_thw=inputs["image_grid_thw"])


class _HashedSample:
    """A sample as a cache key: what its pixels depend on, and nothing else."""

    def __init__(self, sample: SpatialSample) -> None:
        self.sample = sample
        self._key = (sample.images, tuple((r.mark, r.image_index, r.box_xyxy_px) for r in sample.regions))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _HashedSample) and self._key == other._key


def decode(tokenizer: object, token_ids: Sequence[int]) -> str:
    """A response's text without its end token; tags of the grammar stay."""
    return tokenizer.decode(list(token_ids), skip_special_tokens=True)  # type: ignore[attr-defined]
