"""A sample's images as a prompt shows them: within the budget of pixels, with regions drawn. Both sides use this."""

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

    def processed(self, images: list[Image.Image]) -> Any:
        """Shown images as the vision tower takes them: `pixel_values` and `image_grid_thw`.

        Raises:
            ValueError: the processor refuses one.
        """
        settings = {} if self.limits is None else {"do_resize": False}
        return self._processor(images=images, return_tensors="pt", **settings)
