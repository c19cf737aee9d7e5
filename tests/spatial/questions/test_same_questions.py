"""A seed's questions, answers and chains are the same in every version of the program: their text is hashed here.

Weights are written out, so that a new kind of question changes nothing here. Pictures are left out of the hash, since
the compression of their files is another library's. Whoever means to change a question gives the new hash, and says in
the commit which questions changed and why.
"""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from spatial.images import ImageStore
from spatial.scenes.build import SPLITS, build_scene
from spatial.scenes.config import SceneConfig

PRESETS = Path(__file__).parents[3] / "launch/presets"
LOR = "count exists nearest leftmost closer_to_camera left_right above_below larger depth distance direction height"
DTR = "closer_to_camera left_right above_below larger depth distance direction height"
DIRECT = f"scene place name_at box_2d region_name region_center region_box {LOR}"


def weights(kinds: str) -> dict[str, float]:
    return dict.fromkeys(kinds.split(), 1.0)


def every_kind(**changes: Any) -> SceneConfig:
    tables = {"lor_weights": weights(LOR), "dtr_weights": weights(DTR), "direct_weights": weights(DIRECT)}
    return SceneConfig(**{**tables, **changes})


def of_preset(name: str, **changes: Any) -> SceneConfig:
    """The scenes of a preset, and all weights that it leaves to the defaults."""
    written = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())["data"]["scenes"]
    return every_kind(**{**written, **changes})


@pytest.mark.parametrize(
    ("config", "seed", "num_scenes", "expected"),
    [
        (of_preset("demo"), 0, 60, "1178a9924a8b5c2d"),
        (of_preset("demo"), 1, 60, "cb2fd3d193a0f74f"),
        (of_preset("base"), 0, 60, "e41460df0c722fa0"),
        (every_kind(families=("tabletop",), direct_per_scene=6), 3, 60, "df1c81ff4db6f4d5"),
        (every_kind(families=("room",), direct_per_scene=6), 3, 60, "aca0836b8c20e37b"),
        (
            every_kind(max_objects=6, both_paths=True, wrong_chain_share=0.3, direct_per_scene=4),
            5,
            60,
            "77caf515e78cc626",
        ),
        (
            every_kind(dtr_share=1.0, questions_per_scene=20, name_objects=True, marks=("cyan", "white")),
            7,
            60,
            "6b41623a2f7e42be",
        ),
    ],
    ids=["demo", "demo-seed-1", "base", "tabletop", "room", "crowded", "detecting"],
)
def test_scenes_ask_what_they_always_asked(
    config: SceneConfig, seed: int, num_scenes: int, expected: str, tmp_path: Path
) -> None:
    digest, num_samples = hashlib.sha256(), 0
    for split in SPLITS:
        for index in range(num_scenes // 3):
            for sample in build_scene(config, ImageStore(tmp_path), seed, split, index):
                digest.update(sample.model_dump_json(exclude={"images", "depths"}).encode() + b"\n")
                num_samples += 1
    assert num_samples > 150
    assert digest.hexdigest()[:16] == expected


def test_the_kinds_of_today_keep_their_order() -> None:
    """The draws of a seed follow the order of the weights."""
    config = SceneConfig()
    for table, kinds in ((config.lor_weights, LOR), (config.dtr_weights, DTR), (config.direct_weights, DIRECT)):
        assert [kind for kind in table if kind in kinds.split()] == kinds.split()
