"""What the vision tower makes of images, and keeping it where the tower does not change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from vlm.policy import PolicyBatch

ImageName = tuple[object, ...]
"""Of an image as a prompt shows it: its file's hash, and what is drawn on it. Equal names mean equal pixels."""


@dataclass(frozen=True)
class ImageFeatures:
    """One image as the language model takes it, on the model's device."""

    merged: Float[Tensor, "tokens width"]
    """What stands in place of the image's tokens."""
    deepstack: tuple[Float[Tensor, "tokens width"], ...] = ()
    """What is added to the hidden states of the image's tokens after the first layers, one for each; Qwen3-VL alone."""

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.merged, *self.deepstack))

    def copied(self) -> "ImageFeatures":
        """The same in memory of its own; as the tower returns them, all images of a pass share theirs."""
        return ImageFeatures(self.merged.clone(), tuple(layer.clone() for layer in self.deepstack))


Encode = Callable[[Float[Tensor, "patches patch_values"], Int[Tensor, "images 3"]], list[ImageFeatures]]
"""(pixel values, grids) → the features of each image."""


class FeatureCache:
    """Features of images that a frozen vision tower has seen, up to a number of bytes.

    When it is full, no more are kept. Passes go through the same images in turn, so that to give up the oldest for the
    newest would lose each just before it is needed again.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: dict[ImageName, ImageFeatures] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Give all memory back. To be called before the vision tower's weights may change."""
        self._kept.clear()
        self._num_bytes = 0

    @torch.no_grad()
    def features(self, batch: "PolicyBatch", encode: Encode) -> list[ImageFeatures]:
        """The features of each of the batch's images; those that are not kept are encoded together."""
        known = [self._kept.get(name) for name in batch.image_names]
        missing = [place for place, features in enumerate(known) if features is None]
        found = dict(zip(missing, self._encode(batch, missing, encode), strict=True))
        return [found[place] if features is None else features for place, features in enumerate(known)]

    def _encode(self, batch: "PolicyBatch", places: Sequence[int], encode: Encode) -> list[ImageFeatures]:
        if not places:
            return []
        grids = batch.image_grid_thw
        pixels = batch.pixel_values.split(grids.prod(-1).tolist())
        encoded = encode(torch.cat([pixels[place] for place in places]), grids[list(places)])
        for place, features in zip(places, encoded, strict=True):
            if self._num_bytes + features.num_bytes <= self._max_bytes:
                self._kept[batch.image_names[place]] = features.copied()
                self._num_bytes += features.num_bytes
        return encoded
