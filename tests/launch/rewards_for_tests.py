"""Rewards that an untrained model sometimes gets: any function may be one, see `rewards.custom`."""

import time
import zlib

from flow.score import Score
from spatial.sample import ReasoningPath, SpatialSample


def parity(text: str, path: ReasoningPath, sample: SpatialSample) -> Score:
    """1 for half of all texts, told apart by their checksum; the same in every process."""
    total = float(zlib.crc32(text.encode()) % 2)
    return Score(total=total, accuracy=total, format=0.0, center=total if path is ReasoningPath.DTR else None)


def parity_or_never(text: str, path: ReasoningPath, sample: SpatialSample) -> Score:
    """As `parity`, but for one text of sixteen it does not return."""
    while zlib.crc32(text.encode()) % 16 == 7:
        time.sleep(1)
    return parity(text, path, sample)
