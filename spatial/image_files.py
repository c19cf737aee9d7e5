"""The image files that are accepted, and the pixels that they stand for: upright, opaque, RGB.

The pixels are those that a browser and a vLLM server show: rotated as the file's EXIF orientation says, with
transparent parts on white.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ExifTags, Image, UnidentifiedImageError

from spatial.sample import BadImageError

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp"}
"""Formats and their suffixes in the store. MPO is a phone's JPEG with a second picture in it."""

_OPENED = ("PNG", "JPEG", "WEBP")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation, the operation that makes an image upright."""
_TURNED_IN_PNG = {"exif", "Raw profile type exif", "XML:com.adobe.xmp"}
_OTHER_FORMATS = {b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"%PDF": "PDF"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"}


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """The image in a file's bytes, not decoded yet.

    Raises:
        BadImageError: it cannot be read, here or when its pixels are decoded within the block.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_OPENED) as image:
            yield image
    except BadImageError:
        raise
    except UnidentifiedImageError as error:
        raise BadImageError(f"no readable PNG, JPEG or WebP image but {_kind_of(data)}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImageError(f"no readable PNG, JPEG or WebP image: {error}") from error


def _kind_of(data: bytes) -> str:
    """The kind of a file that cannot be opened, by its first bytes, and what to do about it."""
    if not data:
        return "an empty file"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "HEIC or AVIF; convert it first, for instance with `magick photo.heic photo.jpg`"
    for start, name in _OTHER_FORMATS.items():
        if data.startswith(start):
            return f"{name}; convert it first, for instance with `magick picture picture.png`"
    if data.lstrip()[:1] == b"<":
        return "a page of HTML or XML, as a failed download may leave"
    return "another format, or damaged at its start"


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where there is none that can be read."""
    # Asking a PNG without such a block would decode it, to look for one after its pixels.
    if image.format == "PNG" and not image.info.keys() & _TURNED_IN_PNG:
        return 1
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken blocks fail in many ways; viewers and vLLM ignore them, and so do we
        return 1
    return found if found in _TURNS else 1


def as_rgb(image: Image.Image) -> Image.Image:
    """The pixels that the file stands for: upright, with transparent parts on white.

    Raises:
        BadImageError: they are not 8-bit colours or greys.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise BadImageError(
            f"pixels of mode {image.mode}, with more than 8 bits: a depth map? Give an image of 8 bits per channel"
        )
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        opaque = Image.new("RGB", image.size, "white")
        opaque.paste(with_alpha, mask=with_alpha.getchannel("A"))
    else:
        opaque = image.convert("RGB")
    turn = _TURNS.get(orientation_of(image))
    meant = opaque if turn is None else opaque.transpose(turn)
    meant.info = {}  # without the orientation, so that nobody rotates the pixels a second time
    return meant
