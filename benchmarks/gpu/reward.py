"""A reward for models that say nothing."""

import random

from flow.score import Score
from spatial.sample import ReasoningPath, SpatialSample


def by_chance(text: str, path: ReasoningPath, sample: SpatialSample) -> Score:
    """Anything from 0 to 1, whatever was said."""
    share = random.random()
    return Score(total=share, accuracy=share, format=share)
