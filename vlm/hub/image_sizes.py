"""An image in the size in which the model sees it."""

from typing import Any

import numpy as np
import torch
from PIL import Image


def resized(image: Image.Image, processor: Any) -> Image.Image:
    """An RGB image as its image processor (of the Qwen-VL family) resizes it, to the same pixels.

    What is drawn on it afterwards is as wide as it was drawn, however large the image was.
    """
    pixels = processor.resize(
        torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].contiguous(),
        size=processor.size,
        resample=processor.resample,
        factor=processor.patch_size * processor.merge_size,
    )
    return Image.fromarray(pixels[0].permute(1, 2, 0).contiguous().numpy())
