"""Images stored once, under the hash of their content; only the name travels."""

import hashlib
import io
import os
from pathlib import Path as FilePath

import numpy as np
from PIL import Image

from spatial.sample import ImageRef


class ImageStore:
    """A folder of PNG files named by their SHA-256: `root/9f/9f86d0….png`.

    Writing is atomic and idempotent, so any number of processes may share one store.
    """

    def __init__(self, root: FilePath) -> None:
        self.root = FilePath(root)

    def path(self, image: ImageRef) -> FilePath:
        return self.root / image.sha256[:2] / f"{image.sha256}.png"

    def put(self, pixels_hw3: np.ndarray) -> ImageRef:
        """Store an RGB image (uint8, height × width × 3) and return its name."""
        buffer = io.BytesIO()
        # Level 1: these files are read far more often than shipped, and encoding is the slow half.
        Image.fromarray(pixels_hw3, mode="RGB").save(buffer, format="PNG", compress_level=1)
        data = buffer.getvalue()
        height, width = pixels_hw3.shape[:2]
        ref = ImageRef(sha256=hashlib.sha256(data).hexdigest(), width_px=width, height_px=height)
        target = self.path(ref)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_bytes(data)
            temporary.replace(target)
        return ref

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
