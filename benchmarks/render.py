"""How many images one core renders per second, and how many it encodes as PNG.

    python -m benchmarks.render

The last line is JSON: `images_per_s`, and `ratio` to the floor of 200 per second.
"""

import io
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads: one core means one

import numpy as np
from PIL import Image

from spatial.scenes.config import Family, SceneConfig
from spatial.scenes.layout import draw_scene
from spatial.scenes.render import render

FLOOR_PER_S = 200
NUM_SCENES = 64
FAMILIES: tuple[Family, ...] = ("tabletop", "room")
T = TypeVar("T")


def main() -> None:
    config, rates = SceneConfig(), []
    print(f"{'family':<10}{'render/s':>10}{'png/s':>10}")
    for family in FAMILIES:
        drawn = [draw_scene(config, family, np.random.default_rng(seed)) for seed in range(NUM_SCENES)]
        scenes, pictures = [scene for scene, _ in drawn], [Image.fromarray(picture.image_hw3) for _, picture in drawn]
        rates.append(best_rate(render, scenes))
        print(f"{family:<10}{rates[-1]:>10.0f}{best_rate(encode, pictures):>10.0f}")
    mean = len(rates) / sum(1 / rate for rate in rates)
    print(json.dumps({"images_per_s": round(mean, 1), "ratio": round(mean / FLOOR_PER_S, 2)}))


def best_rate(work: Callable[[T], object], items: Sequence[T], rounds: int = 5) -> float:
    """Items per second of this process's CPU time, in the best round (the least disturbed one)."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        for item in items:
            work(item)
        seconds.append(time.process_time() - start)
    return len(items) / min(seconds)


def encode(picture: Image.Image) -> None:
    """Encode as `ImageStore` does."""
    picture.save(io.BytesIO(), "PNG", compress_level=1)


if __name__ == "__main__":
    main()
