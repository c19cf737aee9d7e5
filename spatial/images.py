"""Images stored once, under the hash of their content; only the name travels."""

import hashlib
import io
import os
from pathlib import Path as FilePath

import numpy as np
from PIL import Image

from spatial.sample import DepthRef, ImageRef


class ImageStore:
    """A folder of PNG files named by their SHA-256, `root/9f/9f86d0….png`: images, and depth maps of 16 bits.

    Writing is atomic and idempotent, so any number of processes may share one store.
    """

    def __init__(self, root: FilePath) -> None:
        self.root = FilePath(root)

    def path(self, image: ImageRef | DepthRef) -> FilePath:
        return self.root / image.sha256[:2] / f"{image.sha256}.png"

    def put(self, pixels_hw3: np.ndarray) -> ImageRef:
        """Store an RGB image (uint8, height × width × 3) and return its name."""
        data = _png(pixels_hw3)
        height, width = pixels_hw3.shape[:2]
        ref = ImageRef(sha256=hashlib.sha256(data).hexdigest(), width_px=width, height_px=height)
        self._write(self.path(ref), data)
        return ref

    def put_depth(self, depth_m_hw: np.ndarray, metres_per_level: float = 0.001) -> DepthRef:
        """Store a depth map (metres, height × width; not finite or beyond 65,535 levels: unknown), return its name."""
        levels = np.nan_to_num(depth_m_hw / metres_per_level, nan=0.0, posinf=0.0, neginf=0.0).round()
        data = _png(np.where((levels > 0) & (levels < 2**16), levels, 0).astype(np.uint16))
        height, width = depth_m_hw.shape
        ref = DepthRef(
            sha256=hashlib.sha256(data).hexdigest(),
            width_px=width,
            height_px=height,
            metres_per_level=metres_per_level,
        )
        self._write(self.path(ref), data)
        return ref

    def _write(self, target: FilePath, data: bytes) -> None:
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_bytes(data)
            temporary.replace(target)

    def open(self, image: ImageRef) -> Image.Image:
        """The decoded RGB image.

        Raises:
            FileNotFoundError: the store has no such image; the message names hash and store.
        """
        try:
            with Image.open(self.path(image)) as file:
                return file.convert("RGB")
        except FileNotFoundError:
            raise FileNotFoundError(f"image {image.sha256[:12]}… is not in the image store {self.root}") from None

    def open_depth(self, depth: DepthRef) -> np.ndarray:
        """The depth map in metres (float64, height × width), NaN where it is unknown.

        Raises:
            FileNotFoundError: the store has no such file.
            ValueError: the file has another size than its name says.
        """
        try:
            with Image.open(self.path(depth)) as file:
                levels = np.asarray(file, dtype=np.float64)
        except FileNotFoundError:
            raise FileNotFoundError(f"depth {depth.sha256[:12]}… is not in the image store {self.root}") from None
        if levels.shape != (depth.height_px, depth.width_px):
            raise ValueError(
                f"depth {depth.sha256[:12]}… has {levels.shape[1]}x{levels.shape[0]} px, its sample says "
                f"{depth.width_px}x{depth.height_px}"
            )
        return np.where(levels > 0, levels * depth.metres_per_level, np.nan)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    # Level 1: these files are read far more often than shipped, and encoding is the slow half.
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
