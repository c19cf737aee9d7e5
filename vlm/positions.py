"""Where each token is, in time, height and width (M-RoPE, arXiv 2409.12191, section 2.1), as all families here count.

Computed with the inputs, on the CPU: transformers' own counting asks the GPU several times for each row.
"""

from collections.abc import Sequence
from math import isqrt

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


def mrope_positions(
    token_ids: Sequence[int], image_token_id: int, image_grid_thw: Int[Tensor, "images 3"]
) -> Int[Tensor, "3 tokens"]:
    """Text moves on by one in all three. An image stays at one time, its cells count rows and columns from there, and
    the text after it continues from the larger of the two.

    Args:
        token_ids: a prompt with its image tokens expanded; each image's are in one piece.
        image_grid_thw: patches of each image in time, height and width.

    Raises:
        ValueError: the image tokens are not those of the images.
    """
    is_image = np.concatenate([[False], np.asarray(token_ids) == image_token_id, [False]])
    edges = np.flatnonzero(is_image[1:] != is_image[:-1]).tolist()
    pieces = list(zip(edges[::2], edges[1::2], strict=True))
    grids = image_grid_thw.tolist()
    if len(pieces) != len(grids):
        raise ValueError(f"{len(pieces)} pieces of image tokens for {len(grids)} images")
    positions = np.empty((3, len(token_ids)), dtype=np.int64)
    end, now = 0, 0
    for (start, stop), (times, height, width) in zip(pieces, grids, strict=True):
        positions[:, end:start] = np.arange(start - end) + now
        now += start - end
        merge_size = isqrt(times * height * width // (stop - start))
        cells = np.indices((times, height // merge_size, width // merge_size)).reshape(3, -1)
        if cells.shape[1] != stop - start:
            raise ValueError(f"{stop - start} image tokens for an image of {times} × {height} × {width} patches")
        positions[:, start:stop] = cells + now
        now += max(height, width) // merge_size
        end = stop
    positions[:, end:] = np.arange(len(token_ids) - end) + now
    return torch.from_numpy(positions)
