"""A reward that an untrained model sometimes gets: any function may be one, see `rewards.custom`."""

import zlib

from rewards.score import Score
from spatial.sample import Path, SpatialSample


def parity(text: str, path: Path, sample: SpatialSample) -> Score:
    """1 for half of all texts, told apart by their checksum; the same in every process."""
    total = float(zlib.crc32(text.encode()) % 2)
    return Score(total=total, accuracy=total, format=0.0, center=total if path is Path.DTR else None)
