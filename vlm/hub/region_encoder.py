"""A region as one token: what the image's features say there, and where it is.

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
    """Makes the embedding that stands at a `<|region|>` token."""

    def __init__(self, width: int) -> None:
        """
        Args:
            width: of the vision tower's merged features, which is that of the language model.
        """
        super().__init__()
        self.fc1 = nn.Linear(width + 4 * (1 + 2 * _NUM_FREQUENCIES), width)
        self.fc2 = nn.Linear(width, width)
        # Without a bias: where depth is unknown the features are zeros, and nothing is added.
        self.position = nn.Linear(NUM_POSITION_FEATURES, width, bias=False)

    def forward(self, pooled: Tensor, boxes: Tensor, positions: Tensor) -> Tensor:
        """Tokens of regions, of however many images: under ZeRO-3 each call is a collective, so there is one a pass.

        Args:
            pooled: [regions, width], the mean of the image's merged features over each region.
            boxes: [regions, 4], left, top, right, bottom as shares of the image's sides.
            positions: [regions, NUM_POSITION_FEATURES], zeros where depth is unknown.

        Returns:
            [regions, width].
        """
        placed = pooled + self.position(positions.to(pooled.dtype))
        where = box_features(boxes).to(pooled.dtype)
        return placed + self.fc2(nn.functional.gelu(self.fc1(torch.cat([placed, where], dim=-1))))


def box_features(boxes: Tensor) -> Tensor:
    """The four sides themselves, and sine and cosine of them at octaves of half a turn a side."""
    octaves = math.pi * 2.0 ** torch.arange(_NUM_FREQUENCIES, device=boxes.device, dtype=torch.float32)
    angles = (boxes.float()[:, :, None] * octaves).flatten(1)
    return torch.cat([boxes.float(), angles.sin(), angles.cos()], dim=-1)


def region_tokens(encoder: RegionEncoder, features: Sequence[Tensor], regions: RegionInputs) -> list[Tensor]:
    """Tokens of the regions of several images, by image: [regions, width] each.

    Args:
        features: merged features of each image, [cells, width]; images may differ in size.
        regions: of those images, in the same order.
    """
    counts = regions.num_regions.tolist()
    shares = regions.coverage.split([count * len(cells) for count, cells in zip(counts, features, strict=True)])
    pooled = [
        share.view(count, len(cells)).to(cells.dtype) @ cells
        for cells, share, count in zip(features, shares, counts, strict=True)
    ]
    return list(encoder(torch.cat(pooled), regions.boxes, regions.positions).split(counts))
