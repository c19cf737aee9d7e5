"""How a sample's regions are shown to the model (`PromptConfig.regions`); `vlm.hub.region_prompts` has the styles."""

from collections.abc import Sequence

from PIL import Image

from spatial.sample import ImageRef, Region, SeenObject
from vlm.hub import region_prompts
from vlm.hub.region_prompts import ShownRegion, token_label


def relative_box(region: Region | SeenObject, image: ImageRef) -> tuple[float, float, float, float]:
    """Left, top, right, bottom as shares of the image's sides."""
    left, top, right, bottom = region.box_xyxy_px
    return left / image.width_px, top / image.height_px, right / image.width_px, bottom / image.height_px


def region_label(region: Region) -> str:
    """The words before a region's token."""
    return token_label(region.label)


def draw_marks(
    image: Image.Image, regions: Sequence[Region], width_px: int, size_px: tuple[int, int] | None = None
) -> Image.Image:
    """A copy of an RGB image with a box drawn around each region, in the colour of its mark.

    Args:
        size_px: width and height of the image that the regions' pixels are of, if `image` has been resized since.
    """
    shown = [_shown(region, size_px or image.size) for region in regions]
    return region_prompts.draw_marks(image, shown, width_px)


def describe_boxes(regions: Sequence[Region], images: Sequence[ImageRef], grid: int) -> str:
    """See `vlm.hub.region_prompts.describe_boxes`."""
    return region_prompts.describe_boxes(_shown_on(regions, images), len(images), grid)


def describe_points(regions: Sequence[Region], images: Sequence[ImageRef], grid: int) -> str:
    """See `vlm.hub.region_prompts.describe_points`."""
    return region_prompts.describe_points(_shown_on(regions, images), len(images), grid)


def _shown_on(regions: Sequence[Region], images: Sequence[ImageRef]) -> list[ShownRegion]:
    sizes = [(image.width_px, image.height_px) for image in images]
    return [_shown(region, sizes[region.image_index]) for region in regions]


def _shown(region: Region, size_px: tuple[int, int]) -> ShownRegion:
    return ShownRegion(region.label, region.colour, region.box_xyxy_px, size_px, region.image_index)
