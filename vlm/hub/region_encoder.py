"""A region as one token, from the image's features inside it and from its position.

placed = Σ coverage · merged feature of the vision tower + position · (features of where it lies in 3D)
token  = placed + projector([placed, Fourier(box)])
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .region_inputs import NUM_POSITION_FEATURES, RegionInputs

_NUM_FREQUENCIES = 6


class RegionEncoder(nn.Module):
    """Computes the embedding of a `<|region|>` token."""

    def __init__(self, width: int) -> None:
        """
        Args:
            width: of the vision tower's merged features, which equals that of the language model.
        """
        super().__init__()
        self.fc1 = nn.Linear(width + 4 * (1 + 2 * _NUM_FREQUENCIES), width)
        self.fc2 = nn.Linear(width, width)
        # Without a bias, so that nothing is added if depth is unknown (all features are zero).
        self.position = nn.Linear(NUM_POSITION_FEATURES, width, bias=False)

    def forward(self, pooled: Tensor, boxes: Tensor, positions: Tensor) -> Tensor:
        """The tokens of regions of any number of images. Under ZeRO-3 a call is a collective, so each pass makes one.

        Args:
            pooled: [regions, width], the mean of the image's merged features over each region.
            boxes: [regions, 4], left, top, right, bottom as fractions of the image's sides.
            positions: [regions, NUM_POSITION_FEATURES], zeros where depth is unknown.

        Returns:
            [regions, width].
        """
        placed = pooled + self.position(positions.to(pooled.dtype))
        where = box_features(boxes).to(pooled.dtype)
        return placed + self.fc2(nn.functional.gelu(self.fc1(torch.cat([placed, where], dim=-1))))


def box_features(boxes: Tensor) -> Tensor:
    """The four sides, and their sines and cosines at octaves, beginning with half a turn over the image."""
    octaves = math.pi * 2.0 ** torch.arange(_NUM_FREQUENCIES, device=boxes.device, dtype=torch.float32)
    angles = (boxes.float()[:, :, None] * octaves).flatten(1)
    return torch.cat([boxes.float(), angles.sin(), angles.cos()], dim=-1)


def region_tokens(encoder: RegionEncoder, features: Sequence[Tensor], regions: RegionInputs) -> list[Tensor]:
    """The tokens of the regions of several images: [regions, width] for each image.

    Args:
        features: the merged features of each image, [cells, width]; sizes may differ.
        regions: the regions of these images, in the same order.
    """
    counts = regions.num_regions.tolist()
    shares = regions.coverage.split([count * len(cells) for count, cells in zip(counts, features, strict=True)])
    pooled = [
        share.view(count, len(cells)).to(cells.dtype) @ cells
        for cells, share, count in zip(features, shares, counts, strict=True)
    ]
    return list(encoder(torch.cat(pooled), regions.boxes, regions.positions).split(counts))
