"""A seed's build has the same questions, answers and chains in every version of the program: their text is hashed here.

Kinds are written out, so that a new one changes nothing here. Whoever means to change a question gives the new hash,
and says in the commit which questions changed and why.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpora.builder.build import ask_image, build_data
from corpora.builder.config import BuildConfig, Margins, SceneSource, Splits
from spatial.sample import ReasoningPath, SpatialSample
from spatial.scenes.config import SceneConfig

from .worlds import random_scene

KINDS = (
    *("left_right", "above_below", "closer_to_camera", "larger", "distance", "direction"),
    *("depth", "height", "width", "nearest", "count"),
)
WEIGHTS = dict.fromkeys(KINDS, 1.0)
STRICT = Margins(depth_share=0.3, side_share=0.2, size_ratio=2.0, hour_deg=5.0, rounding_share=0.002, max_overlap=0.0)
LOOSE = Margins(depth_share=0.01, side_share=0.01, size_ratio=1.01, distance_share=0.01, hour_deg=13.5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "08c0e92cf8a7dfb8"),
        ({"seed": 3, "questions_per_image": 11, "margins": LOOSE}, "5c02c714f3ec078c"),
        ({"seed": 4, "questions_per_image": 11, "margins": STRICT, "max_count": 3}, "6ee79efdaca19014"),
        ({"paths": (ReasoningPath.DTR,), "marks": ("7", "cyan", "white", "3", "12")}, "2ba4d6d618aae5cd"),
        (
            {"kinds": {"nearest": 3.0, "direction": 2.0, "count": 1.0, "larger": 0.0}, "questions_per_image": 3},
            "594fec11f3e057ba",
        ),
    ],
    ids=["default", "loose", "strict", "detecting", "weights"],
)
def test_an_image_is_asked_what_it_always_was(changes: dict[str, Any], expected: str) -> None:
    config = BuildConfig(out=Path("out"), source=SceneSource(), **{"kinds": WEIGHTS, **changes})
    rng = np.random.default_rng(11)
    unasked: dict[str, dict[str, int]] = {}
    samples = [s for number in range(100) for s in ask_image(config, random_scene(rng, 1 + number % 8), unasked)]
    assert len(samples) > 200
    assert hash_of(samples, unasked) == expected


def test_a_build_over_scenes_has_the_questions_that_it_always_had(tmp_path: Path) -> None:
    source = SceneSource(scenes=SceneConfig(image_size_px=64, min_visible_px=5), num_images=40)
    halves = Splits(train=0.5, validation=0.25, test=0.25)
    report = build_data(BuildConfig(out=tmp_path, source=source, splits=halves, kinds=WEIGHTS))
    parts = [json.loads(file.read_text()) for file in sorted((tmp_path / "parts").iterdir())]
    samples = [SpatialSample.model_validate_json(json.dumps(row)) for part in parts for row in part["samples"]]
    assert sum(report.questions.values()) == len(samples) > 200
    assert hash_of(samples, report.tally.unasked) == "7afdbf49c10cbb79"


def test_the_kinds_of_today_keep_their_order() -> None:
    """The draws of a seed follow the order of the weights."""
    defaults = BuildConfig(out=Path("out"), source=SceneSource()).kinds
    assert [kind for kind in defaults if kind in KINDS] == list(KINDS)


def hash_of(samples: list[SpatialSample], unasked: dict[str, dict[str, int]]) -> str:
    lines = [sample.model_dump_json(exclude={"images"}) for sample in samples]
    return hashlib.sha256("\n".join([*lines, json.dumps(unasked, sort_keys=True)]).encode()).hexdigest()[:16]
