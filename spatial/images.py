"""Images stored once, under the hash of their content; samples refer to them by this name."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from cachetools import LRUCache
from PIL import Image

from spatial.image_files import SUFFIXES, as_rgb, opened, orientation_of
from spatial.sample import BadImageError, DepthRef, ImageRef, check_shape
from spatial.whole_files import write_whole

_STORED_SUFFIXES = tuple(dict.fromkeys(SUFFIXES.values()))


class ImageStore:
    """A folder of files named by their SHA-256, `root/9f/9f86d0….png`: images, and 16-bit depth maps (PNG).

    Writing is atomic and idempotent, so any number of processes may share one store.

    Args:
        cache_mib: memory for the decoded images that were used last, so that a group decodes its image only once.
        also: roots of other stores, read when `root` lacks an image, never written.
    """

    def __init__(self, root: Path, cache_mib: int = 0, also: Sequence[Path] = ()) -> None:
        self.root = Path(root)
        self._also = tuple(map(Path, also))
        self._cache_mib = cache_mib
        self.num_turned = 0
        """Number of images that were rotated upright when they were stored."""
        self._decoded: LRUCache[str, Image.Image] = LRUCache(
            cache_mib * 2**20, getsizeof=lambda i: 3 * i.width * i.height
        )

    def __reduce__(self) -> tuple[type[Self], tuple[Path, int, tuple[Path, ...]]]:
        return type(self), (self.root, self._cache_mib, self._also)  # another process starts with an empty cache

    def path(self, image: ImageRef | DepthRef) -> Path:
        """The image's file; if it is not stored, the file that it would have as a PNG."""
        return self._find(image.sha256)

    def _find(self, sha256: str) -> Path:
        stems = [root / sha256[:2] / sha256 for root in (self.root, *self._also)]
        candidates = (stem.with_suffix(suffix) for stem in stems for suffix in _STORED_SUFFIXES)
        return next((file for file in candidates if file.is_file()), stems[0].with_suffix(".png"))

    def put(self, pixels_hw3: np.ndarray) -> ImageRef:
        """Store an RGB image (uint8, height × width × 3) and return its name."""
        data = _png(pixels_hw3)
        height, width = pixels_hw3.shape[:2]
        return self._put(data, ".png", width, height)

    def put_encoded(self, data: bytes) -> ImageRef:
        """Store an image file's bytes (PNG, JPEG or WebP) as they are, and return its name.

        An image that its EXIF block says to rotate is stored as a PNG of its upright pixels, so that readers of the
        store need not care about orientation. An image that is stored already is not decoded again, so that rows that
        share one, and repeated imports, cost little.

        Raises:
            BadImageError: it is none of these formats, is broken or cut short, or has a shape that no processor takes.
        """
        with opened(data) as image:
            suffix, (width, height) = SUFFIXES[str(image.format)], image.size
            check_shape(width, height)
            ref = ImageRef(sha256=hashlib.sha256(data).hexdigest(), width_px=width, height_px=height)
            if orientation_of(image) == 1 and self.path(ref).is_file():
                return ref
            upright = as_rgb(
                image
            )  # decodes, so that a file that is cut short fails now and not in the middle of training
            is_upright = orientation_of(image) == 1  # checked again: a PNG may hold its orientation after its pixels
        if is_upright:
            return self._put(data, suffix, width, height)
        self.num_turned += 1
        return self.put(np.asarray(upright))

    def put_depth_file(self, data: bytes) -> DepthRef:
        """Store the bytes of a depth map, a PNG of one channel, as they are.

        Raises:
            BadImageError: the file is not a PNG of one channel.
        """
        with opened(data) as image:
            image.load()
            if image.format != "PNG" or len(image.getbands()) > 1:
                raise BadImageError(f"a depth map is a PNG of one 16-bit channel, not {image.format} {image.mode}")
            width, height = image.size
        ref = self._put(data, ".png", width, height)
        return DepthRef(sha256=ref.sha256, width_px=width, height_px=height)

    def put_depth(self, depth_m_hw: np.ndarray, metres_per_level: float = 0.001) -> DepthRef:
        """Store a depth map in metres, unknown where not finite or above 65,535 levels; return its name."""
        levels = np.nan_to_num(depth_m_hw / metres_per_level, nan=0.0, posinf=0.0, neginf=0.0).round()
        data = _png(np.where((levels > 0) & (levels < 2**16), levels, 0).astype(np.uint16))
        height, width = depth_m_hw.shape
        ref = self._put(data, ".png", width, height)
        return DepthRef(sha256=ref.sha256, width_px=width, height_px=height, metres_per_level=metres_per_level)

    def _place(self, sha256: str, suffix: str) -> Path:
        return self.root / sha256[:2] / f"{sha256}{suffix}"

    def _put(self, data: bytes, suffix: str, width_px: int, height_px: int) -> ImageRef:
        name = hashlib.sha256(data).hexdigest()
        target = self._place(name, suffix)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, data)
        return ImageRef(sha256=name, width_px=width_px, height_px=height_px)

    def open(self, image: ImageRef) -> Image.Image:
        """The decoded RGB image. Do not change it: it is shared through the cache.

        Raises:
            FileNotFoundError: the store has no such image; the message names hash and store.
            BadImageError: its file is broken or not upright, or its size is not the one that `image` gives.
        """
        decoded = self.load(image.sha256)
        if decoded.size != (image.width_px, image.height_px):
            raise BadImageError(
                f"image {self.path(image)} has {decoded.width}x{decoded.height} px, but its sample says "
                f"{image.width_px}x{image.height_px}; correct the sample and its boxes, or import it again"
            )
        return decoded

    def load(self, sha256: str) -> Image.Image:
        """Like `open`, without the check of the size."""
        if sha256 in self._decoded:
            return self._decoded[sha256]
        path = self._find(sha256)
        try:
            with opened(path.read_bytes()) as file:
                if (orientation := orientation_of(file)) != 1:
                    raise BadImageError(
                        f"it is not upright (EXIF orientation {orientation}); import its samples again "
                        "(`sr-real data import type=own …` stores it upright)"
                    )
                decoded = as_rgb(file)
        except FileNotFoundError:
            raise FileNotFoundError(_missing("image", sha256, path)) from None
        except BadImageError as error:
            raise BadImageError(f"image {path}: {error}") from error
        if _num_bytes(decoded) <= self._decoded.maxsize:
            self._decoded[sha256] = decoded
        return decoded

    def open_depth(self, depth: DepthRef) -> np.ndarray:
        """The depth map in metres (float64, height × width), NaN where it is unknown.

        Raises:
            FileNotFoundError: the store has no such file.
            BadImageError: the file is broken, or its size is not the one that its sample gives.
        """
        path = self.path(depth)
        try:
            with opened(path.read_bytes()) as file:
                levels = np.asarray(file, dtype=np.float64)
        except FileNotFoundError:
            raise FileNotFoundError(_missing("depth", depth.sha256, path)) from None
        except BadImageError as error:
            raise BadImageError(f"depth {path}: {error}") from error
        if levels.shape != (depth.height_px, depth.width_px):
            raise BadImageError(
                f"depth {path} has {'x'.join(map(str, levels.shape[1::-1]))} px, but its sample says "
                f"{depth.width_px}x{depth.height_px}"
            )
        return np.where(levels > 0, levels * depth.metres_per_level, np.nan)


def _missing(what: str, sha256: str, path: Path) -> str:
    return f"{what} {sha256[:12]}… is not in the image store; put {path} in place, or import its samples again"


def _num_bytes(image: Image.Image) -> int:
    return 3 * image.width * image.height


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    # Level 1: encoding is slow, and file size matters little.
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
