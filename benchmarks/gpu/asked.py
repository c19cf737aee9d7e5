"""Samples and requests of known sizes."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from flow.trajectory import RolloutRequest
from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, ReasoningPath, Region, SpatialSample
from vlm.config import PromptConfig

GROUP_SIZE = 8
QUESTION = "Which is closer to the camera? A. red point B. blue point"
PROMPT = PromptConfig(instructions="short")
MARKS = ("red", "blue", "green", "yellow", "cyan")


def make_samples(images: ImageStore, number: int, image_px: int, num_regions: int, seed: int) -> list[SpatialSample]:
    """Samples about an image of coloured clouds each, with regions of several sizes."""
    random = np.random.default_rng(seed)
    corners = [(0.0, 0.0, 1.0, 1.0), (0.4, 0.3, 0.6, 0.9), (0.1, 0.1, 0.2, 0.2), (0.5, 0.0, 1.0, 0.5), (0.0, 0.7, 1, 1)]
    regions = tuple(
        Region(mark=mark, box_xyxy_px=(x0 * image_px, y0 * image_px, x1 * image_px, y1 * image_px))
        for mark, (x0, y0, x1, y1) in zip(MARKS[:num_regions], corners[:num_regions], strict=True)
    )
    return [
        SpatialSample(
            sample_id=f"{seed}-{num_regions}-{index}",
            domain="benchmark",
            kind="closer",
            paths=(ReasoningPath.DTR,),
            images=(images.put_encoded(_photograph(random, image_px)),),
            question=QUESTION,
            answer=ChoiceAnswer(letter="A", num_options=2),
            regions=regions,
        )
        for index in range(number)
    ]


def _photograph(random: np.random.Generator, side_px: int) -> bytes:
    """A JPEG that takes as long to decode as one of a real scene, which noise would not."""
    coarse = Image.fromarray(random.integers(0, 255, (side_px // 16, side_px // 16, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize((side_px, side_px), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def make_requests(
    samples: Sequence[SpatialSample], max_tokens: int, group_size: int = GROUP_SIZE
) -> list[RolloutRequest]:
    """A group of requests for each sample."""
    return [
        RolloutRequest(group, member, sample, ReasoningPath.DTR, group * group_size + member, 1.0, max_tokens)
        for group, sample in enumerate(samples)
        for member in range(group_size)
    ]
