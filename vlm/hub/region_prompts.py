"""How prompts show regions, by the path's style.

"tokens": its image is followed by `red point:<|region|>`; the token's embedding encodes the region.
"marks": a box is drawn on the image, and its coordinates are in the prompt.
"points": the coordinates of its centre are in the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

REGION = "<|region|>"
"""The token whose embedding is replaced by the region's."""


@dataclass(frozen=True)
class ShownRegion:
    """A region as prompts refer to it."""

    label: str
    """What questions call it: "red point", "region 3"."""
    colour: str
    """The colour in which it is drawn."""
    box_xyxy_px: tuple[float, float, float, float]
    image_size_px: tuple[int, int]
    """Width and height of its image."""
    image_index: int = 0

    def box_on(self, size_px: tuple[int, int]) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in pixels of its image when that is resized to `size_px`, width and height."""
        if size_px == self.image_size_px:
            return self.box_xyxy_px
        left, top, right, bottom = self.box_shares
        width, height = size_px
        return left * width, top * height, right * width, bottom * height

    @property
    def box_shares(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom as fractions of the image's sides."""
        left, top, right, bottom = self.box_xyxy_px
        width, height = self.image_size_px
        return left / width, top / height, right / width, bottom / height


def token_label(label: str) -> str:
    """The words before a region's token."""
    return f" {label}:"


def draw_marks(image: Image.Image, regions: Sequence[ShownRegion], width_px: int) -> Image.Image:
    """A copy of an RGB image, which may be resized, with a box around each region in the colour of its mark."""
    marked = image.copy()
    draw = ImageDraw.Draw(marked)
    for region in regions:
        left, top, right, bottom = region.box_on(image.size)
        # PIL's rectangle includes its last pixel; ours ends before `right` and `bottom`.
        draw.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), outline=region.colour, width=width_px)
    return marked


def describe_boxes(regions: Sequence[ShownRegion], num_images: int, grid: int) -> str:
    """A clause for each region, such as "red point [012,030,044,071]": the box scaled to 0…grid-1, with leading zeros.

    With several images, the clause names the image ("red point in image 2 […]").
    """
    digits = len(str(grid - 1))

    def clause(region: ShownRegion) -> str:
        scaled = [min(grid - 1, int(share * grid)) for share in region.box_shares]
        return f"{_where(region, num_images)} [{','.join(f'{value:0{digits}d}' for value in scaled)}]"

    return " ".join(map(clause, regions))


def describe_points(regions: Sequence[ShownRegion], num_images: int, grid: int) -> str:
    """A clause for each region, such as "red point [28,50]": the centre of its box scaled to 0…grid-1."""

    def clause(region: ShownRegion) -> str:
        left, top, right, bottom = region.box_shares
        x, y = (min(grid - 1, int(share * grid)) for share in ((left + right) / 2, (top + bottom) / 2))
        return f"{_where(region, num_images)} [{x},{y}]"

    return " ".join(map(clause, regions))


def _where(region: ShownRegion, num_images: int) -> str:
    return region.label + (f" in image {region.image_index + 1}" if num_images > 1 else "")
