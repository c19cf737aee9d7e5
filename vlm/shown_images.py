"""A sample's images as a prompt shows them: within the budget of pixels, with regions drawn. Both sides use this."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from PIL import Image
from transformers.image_utils import SizeDict

from spatial.images import ImageStore
from spatial.sample import SpatialSample
from vlm.config import PromptConfig
from vlm.hub.image_sizes import resized
from vlm.pixel_limits import PixelLimits
from vlm.regions import draw_marks


def limits_of(image_processor: Any) -> PixelLimits:
    """A model's own limits."""
    return PixelLimits.of_processor(image_processor.to_dict())


def set_limits(image_processor: Any, limits: PixelLimits) -> None:
    """Let a model's image processor resize to within these."""
    image_processor.size = SizeDict(shortest_edge=limits.min_pixels, longest_edge=limits.max_pixels)


class ShownImages:
    """Opens, resizes and draws.

    With a budget (`prompt.min_pixels`, `prompt.max_pixels`) an image is resized here and nowhere else, before regions
    are drawn. Without one, the processors of learner and engine resize what they get, drawn regions included.
    """

    def __init__(self, store: ImageStore, image_processor: Any, config: PromptConfig) -> None:
        """
        Args:
            image_processor: the model's; it gets the budget.

        Raises:
            ValueError: the budget does not fit the model.
        """
        self.store = store
        self.limits: PixelLimits | None = None
        """Set if there is a budget."""
        self._processor = image_processor
        self._mark_width_px = config.mark_width_px
        if config.has_pixel_budget:
            self.limits = limits_of(image_processor).within(config)
            set_limits(image_processor, self.limits)

    def shown(self, sample: SpatialSample, index: int, with_marks: bool) -> Image.Image:
        """One image of a sample.

        Raises:
            BadImageError: it cannot be used.
            FileNotFoundError: it is not in the store.
        """
        image = self.store.open(sample.images[index])
        if self.limits is not None:
            image = resized(image, self._processor)
        if not with_marks:
            return image
        size_px = (sample.images[index].width_px, sample.images[index].height_px)
        return draw_marks(image, sample.regions_of(index), self._mark_width_px, size_px)

    def num_tokens(self, width_px: int, height_px: int) -> int:
        """The image tokens of an image of this size in its file.

        Raises:
            ValueError: no processor takes this shape.
        """
        processor = self._processor
        return processor.get_number_of_image_patches(height_px, width_px, {}) // processor.merge_size**2

    def most_pixels(self, sizes_px: Sequence[tuple[int, int]], num_tokens: int, at_most: int | None) -> int | None:
        """The largest `prompt.max_pixels` with which images of these sizes have at most so many tokens together.

        Args:
            sizes_px: width and height of each in its file.
            num_tokens: at least 0 of them are there for the images.
            at_most: no larger one is wanted.

        Returns:
            A multiple of the pixels of one token; None if even the fewest that an image may have are too many.
        """
        limits = self.limits or limits_of(self._processor)
        of_token = limits.token_side_px**2

        def total(max_in_tokens: int) -> int:
            bounds = {"min_pixels": limits.min_pixels, "max_pixels": max_in_tokens * of_token}
            count = self._processor.get_number_of_image_patches
            return sum(count(height, width, bounds) for width, height in sizes_px) // self._processor.merge_size**2

        most = min(limits.max_pixels, at_most or limits.max_pixels) // of_token
        candidates = range(-(-limits.min_pixels // of_token), most + 1)
        if candidates and total(candidates[-1]) <= num_tokens:
            return candidates[-1] * of_token
        place = bisect_right(candidates, num_tokens, key=total)
        return candidates[place - 1] * of_token if place else None

    def processed(self, images: list[Image.Image]) -> Any:
        """Shown images as the vision tower takes them: `pixel_values` and `image_grid_thw`.

        Raises:
            ValueError: the processor refuses one.
        """
        settings = {} if self.limits is None else {"do_resize": False}
        return self._processor(images=images, return_tensors="pt", **settings)
