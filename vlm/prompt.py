"""From a sample and a path to the model's inputs. Engine and learner both use this, so they agree."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import torch
from cachetools import LRUCache
from jaxtyping import Float, Int
from PIL import Image

from spatial.images import ImageStore
from spatial.sample import BadImageError, ImageRef, ReasoningPath, Region, SpatialSample
from vlm.config import PromptConfig, RegionStyle
from vlm.hub.region_inputs import RegionInputs, coverage
from vlm.hub.region_prompts import REGION
from vlm.image_features import ImageName
from vlm.model_folders import add_region_token, load_processor
from vlm.pixel_limits import PixelLimits
from vlm.regions import describe_boxes, describe_points, region_label, relative_box
from vlm.sample_regions import RegionSpec, positions_in_3d, region_inputs, shapes_of
from vlm.shown_images import ShownImages

# Of cached inputs. An image of 128 × 128 pixels takes 0.4 MB, one of a megapixel 23 MiB.
_MAX_CACHED_BYTES = 512 * 2**20


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as text, with one placeholder for each image (not yet expanded), and its images."""

    text: str
    images: tuple[Image.Image, ...]


@dataclass(frozen=True)
class VisionInputs:
    """The images of one prompt as the vision tower takes them, with their regions."""

    pixel_values: Float[torch.Tensor, "patches patch_values"]
    image_grid_thw: Int[torch.Tensor, "images 3"]
    """Patches in time, height and width, for each image."""
    regions: RegionInputs
    image_names: tuple[ImageName, ...]
    """Of each image, as it is shown. Images of one name have the same pixels, whichever prompts show them."""

    @property
    def num_bytes(self) -> int:
        regions = (getattr(self.regions, field.name) for field in fields(self.regions))
        return sum(tensor.nbytes for tensor in (self.pixel_values, self.image_grid_thw, *regions))


_DESCRIPTIONS: Mapping[RegionStyle, Callable[[Sequence[Region], Sequence[ImageRef], int], str]] = {
    "tokens": lambda regions, images, grid: "",
    "marks": describe_boxes,
    "points": describe_points,
}


def question_text(sample: SpatialSample, path: ReasoningPath, config: PromptConfig) -> str:
    """The user's message: the question, where its regions are, and the path's instruction."""
    describe = _DESCRIPTIONS[config.regions_for(path)]
    regions = describe(sample.regions, sample.images, config.coordinate_grid)
    return " ".join(filter(None, [sample.question, regions, config.instruction(path)]))


class PromptEncoder:
    """Turns samples into prompts, and prompts into token ids and pixel values, with the model's own processor."""

    def __init__(
        self,
        model_folder: Path | str,
        images: ImageStore,
        config: PromptConfig,
        max_cached_bytes: int = _MAX_CACHED_BYTES,
        adds_region_token: bool = False,
    ) -> None:
        """
        Args:
            adds_region_token: to look at prompts for a model that will be given region tokens, before it has them.
        """
        self._processor = load_processor(model_folder)
        if adds_region_token:
            add_region_token(self._processor.tokenizer)
        self._images = ShownImages(images, self._processor.image_processor, config)
        self._config = config
        self.tokenizer = self._processor.tokenizer
        self.image_token_id: int = self._processor.image_token_id
        region_token_id = self.tokenizer.get_vocab().get(REGION)
        if config.has_region_tokens and region_token_id is None:
            raise ValueError(
                f"model folder {model_folder} has no {REGION} token; give it one with vlm.model_folders.add_regions, "
                "or draw regions as marks (prompt.regions=marks)"
            )
        self._region_token_id = region_token_id
        self.banned_token_ids: tuple[int, ...] = (
            self._processor.image_token_id,
            self._processor.video_token_id,
            *([] if region_token_id is None else [region_token_id]),
        )
        """Never sampled; see `vlm.policy.banned_token_ids`."""
        self.special_tokens: tuple[str, ...] = tuple(
            added.content for added in self.tokenizer.added_tokens_decoder.values() if added.special
        )
        """Texts that no question and no response may contain, because the model does not read them as text."""
        self.end_token_id: int = self.tokenizer.eos_token_id
        self.pad_token_id: int = self.tokenizer.pad_token_id
        if self.pad_token_id == self.end_token_id:
            raise ValueError(
                f"model folder {model_folder}: pad_token_id equals eos_token_id ({self.end_token_id}), so the end of a "
                "response could not be learned; give the tokenizer a separate padding token"
            )
        # The members of a group and the micro-batches of an update need the same prompts repeatedly.
        self._vision: LRUCache[tuple[object, ...], VisionInputs] = LRUCache(
            max_cached_bytes, getsizeof=lambda inputs: inputs.num_bytes
        )

    @property
    def pixel_limits(self) -> PixelLimits | None:
        """Pixels of an image when the model sees it; None without a budget, where the model's processor decides."""
        return self._images.limits

    def encode(self, sample: SpatialSample, path: ReasoningPath) -> EncodedPrompt:
        """The prompt that asks `sample` through `path`.

        Raises:
            BadImageError: an image is not in the store, or cannot be used; the message names the sample.
        """
        return EncodedPrompt(text=self.text(sample, path), images=self.shown_images(sample, path))

    def text(self, sample: SpatialSample, path: ReasoningPath) -> str:
        """The prompt's text, with one placeholder for each image."""
        return self._in_template(question_text(sample, path, self._config), len(sample.images))

    def _in_template(self, question: str, num_images: int) -> str:
        content = [*({"type": "image"} for _ in range(num_images)), {"type": "text", "text": question}]
        return self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )

    def uses_region_tokens(self, path: ReasoningPath) -> bool:
        """Whether regions are tokens on `path`."""
        return self._config.regions_for(path) == "tokens"

    def draws_regions(self, path: ReasoningPath) -> bool:
        """Whether regions are drawn on the images on `path`."""
        return self._config.regions_for(path) == "marks"

    def shown_images(self, sample: SpatialSample, path: ReasoningPath) -> tuple[Image.Image, ...]:
        """The sample's images within the budget of pixels, with its regions drawn if `path` shows them as marks.

        Raises:
            BadImageError: as `encode`.
        """
        return tuple(self._shown_image(sample, index, self.draws_regions(path)) for index in range(len(sample.images)))

    def _shown_image(self, sample: SpatialSample, index: int, with_marks: bool) -> Image.Image:
        with _naming(sample, f"images.{index}"):
            return self._images.shown(sample, index, with_marks)

    def prompt_token_ids(self, sample: SpatialSample, path: ReasoningPath) -> tuple[int, ...]:
        """The prompt's tokens, each image placeholder expanded to the tokens of its image and of its regions."""
        expanded = iter(
            [self.image_token_id] * self._num_image_tokens(image.width_px, image.height_px)
            + [token for region in regions for token in region.token_ids]
            for image, regions in zip(sample.images, self.regions(sample, path), strict=True)
        )
        ids: list[int] = []
        for token in self.tokenizer(self.text(sample, path), add_special_tokens=False)["input_ids"]:
            ids.extend(next(expanded) if token == self.image_token_id else [token])
        return tuple(ids)

    def max_prompt_tokens(self, sample: SpatialSample, path: ReasoningPath) -> int:
        """An upper bound of the prompt's number of tokens, without the tokenizer: each token has at least one byte."""
        image_tokens = sum(self._num_image_tokens(image.width_px, image.height_px) for image in sample.images)
        labels = map(region_label, sample.regions) if self.uses_region_tokens(path) else ()
        region_tokens = sum(len(label.encode()) + 1 for label in labels)
        question = question_text(sample, path, self._config)
        return image_tokens + region_tokens + len(question.encode()) + self._num_template_bytes(len(sample.images))

    def most_pixels(self, sample: SpatialSample, num_image_tokens: int, at_most: int | None = None) -> int | None:
        """See `ShownImages.most_pixels`."""
        sizes_px = [(image.width_px, image.height_px) for image in sample.images]
        return self._images.most_pixels(sizes_px, num_image_tokens, at_most)

    @lru_cache(maxsize=256)  # noqa: B019 - an encoder lives as long as its process
    def _num_template_bytes(self, num_images: int) -> int:
        return len(self._in_template("", num_images).encode())

    @lru_cache(maxsize=4096)  # noqa: B019 - an encoder lives as long as its process
    def _num_image_tokens(self, width_px: int, height_px: int) -> int:
        return self._images.num_tokens(width_px, height_px)

    def regions(self, sample: SpatialSample, path: ReasoningPath) -> tuple[tuple[RegionSpec, ...], ...]:
        """For each image its regions if they are tokens on `path`, otherwise none.

        Raises:
            BadImageError: a depth map is not in the store, or cannot be used; the message names the sample.
        """
        if not self.uses_region_tokens(path):
            return ((),) * len(sample.images)
        return tuple(self._regions_of(sample, index) for index in range(len(sample.images)))

    def _regions_of(self, sample: SpatialSample, index: int) -> tuple[RegionSpec, ...]:
        shapes = shapes_of(sample, index)
        with_depth = self._config.region_depth
        with _naming(sample, f"depths.{index}"):
            positions = positions_in_3d(sample, index, shapes, self._images.store) if with_depth else [()] * len(shapes)
        token_ids = [self._label_ids(region_label(region)) for region in sample.regions_of(index)]
        return tuple(map(RegionSpec, token_ids, shapes, positions))

    @lru_cache(maxsize=1024)  # noqa: B019 - an encoder lives as long as its process
    def _label_ids(self, label: str) -> tuple[int, ...]:
        words = self.tokenizer(label, add_special_tokens=False)["input_ids"]
        return (*words, self._region_token_id)

    def cells_of_objects(self, sample: SpatialSample, path: ReasoningPath) -> list[tuple[int, ...]]:
        """For each of the sample's objects the image tokens that its box touches, counted through all images."""
        merge_size = self._processor.image_processor.merge_size
        grids = (self.vision_inputs(sample, path).image_grid_thw[:, 1:] // merge_size).tolist()
        first = [0, *accumulate(rows * columns for rows, columns in grids)]
        found = []
        for seen in sample.objects:
            shape = ("box", *relative_box(seen, sample.images[seen.image_index]))
            touched = coverage(shape, *grids[seen.image_index]).nonzero()[0]
            found.append(tuple(first[seen.image_index] + int(cell) for cell in touched))
        return found

    @lru_cache(maxsize=1024)  # noqa: B019 - an encoder lives as long as its process
    def spellings(self, words: str) -> tuple[tuple[int, ...], ...]:
        """The token ids of these words, at the start of a line and after a space."""
        spelt = self.tokenizer([words, f" {words}"], add_special_tokens=False)["input_ids"]
        return tuple(dict.fromkeys(map(tuple, spelt)))

    def response_token_ids(self, text: str) -> tuple[int, ...]:
        """A response's tokens, end token included."""
        return (*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.end_token_id)

    def vision_inputs(self, sample: SpatialSample, path: ReasoningPath) -> VisionInputs:
        """The images and regions that `path` shows of a sample, as tensors."""
        return self.vision_inputs_of([(sample, path)])[0]

    def vision_inputs_of(self, asked: Sequence[tuple[SpatialSample, ReasoningPath]]) -> list[VisionInputs]:
        """The images and regions of several prompts; one call for many costs a fifth of many calls."""
        keys = [(self._config.regions_for(path), *_vision_key(sample)) for sample, path in asked]
        found = {key: self._vision[key] for key in keys if key in self._vision}
        missing = {key: prompt for key, prompt in zip(keys, asked, strict=True) if key not in found}
        made = dict(zip(missing, self._process(list(missing.values())), strict=True))
        for key, inputs in made.items():
            if inputs.num_bytes <= self._vision.maxsize:
                self._vision[key] = inputs
        found |= made
        return [found[key] for key in keys]

    def _image_names(self, sample: SpatialSample, path: ReasoningPath) -> tuple[ImageName, ...]:
        is_drawn = self.draws_regions(path)
        return tuple(
            (image.sha256, *((r.mark, r.box_xyxy_px) for r in sample.regions_of(index) if is_drawn))
            for index, image in enumerate(sample.images)
        )

    def _process(self, asked: Sequence[tuple[SpatialSample, ReasoningPath]]) -> list[VisionInputs]:
        if not asked:
            return []
        images = [self.shown_images(sample, path) for sample, path in asked]
        flat = [image for marked in images for image in marked]
        try:
            inputs = self._images.processed(flat)
        except ValueError as error:
            names = ", ".join(sample.sample_id for sample, _ in asked)
            raise BadImageError(f"the image processor refuses an image of sample(s) {names}: {error}") from error
        grids = inputs["image_grid_thw"].split([len(marked) for marked in images])
        pixels = inputs["pixel_values"].split([int(grid.prod(-1).sum()) for grid in grids])
        return [
            VisionInputs(
                pixel_values=values,
                image_grid_thw=grid,
                regions=region_inputs(self.regions(sample, path), grid, self._processor.image_processor.merge_size),
                image_names=self._image_names(sample, path),
            )
            for (sample, path), values, grid in zip(asked, pixels, grids, strict=True)
        ]


@contextmanager
def _naming(sample: SpatialSample, field: str) -> Iterator[None]:
    """Adds the sample and the field to errors of the image store; people read them later, in another process."""
    try:
        yield
    except (OSError, BadImageError) as error:
        raise BadImageError(f"sample {sample.sample_id}: {field}: {error}") from error


def _vision_key(sample: SpatialSample) -> tuple[object, ...]:
    """Everything that a sample's vision inputs depend on: images, depth and regions."""
    return (
        sample.images,
        sample.depths,
        sample.camera,
        tuple(region.replace(name="", center_m=None) for region in sample.regions),
    )


def decode(tokenizer: object, token_ids: Sequence[int]) -> str:
    """A response's text without its end token; the grammar's tags are kept."""
    return tokenizer.decode(list(token_ids), skip_special_tokens=True)  # type: ignore[attr-defined]
