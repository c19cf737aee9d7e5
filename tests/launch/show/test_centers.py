"""The picture of detected centres from above: who is beside whom, in numbers."""

import json
from pathlib import Path

from actors.run.run_folder import RunFolder
from launch.show.centers import Pair, draw_centers, evaluated_pairs
from spatial.sample import ChoiceAnswer, ImageRef, ReasoningPath, Region, SpatialSample


def write_run(root: Path) -> RunFolder:
    folder = RunFolder(root)
    folder.create()
    folder.data.mkdir()
    folder.evaluations.mkdir()
    sample = SpatialSample(
        sample_id="a",
        domain="room",
        kind="distance",
        paths=(ReasoningPath.DTR,),
        images=(ImageRef(sha256="0" * 64, width_px=64, height_px=64),),
        question="?",
        answer=ChoiceAnswer(letter="A", num_options=2),
        regions=(
            Region(mark="red", box_xyxy_px=(1.0, 1.0, 9.0, 9.0), center_m=(0.0, 0.0, 2.0)),
            Region(mark="blue", box_xyxy_px=(1.0, 1.0, 9.0, 9.0), center_m=(1.0, 0.0, 3.0)),
        ),
    )
    (folder.data / "test.jsonl").write_text(sample.model_dump_json() + "\n")
    marks = [
        {"sample_id": "a", "domain": "room", "is_greedy": True, "centers_m": [[0.3, 0.0, 2.4], [1.0, 0.0, 3.0]]},
        {"sample_id": "a", "domain": "room", "is_greedy": True, "centers_m": [[0.0, 0.0, 2.0]]},  # one is missing
        {"sample_id": "a", "domain": "room", "is_greedy": False, "centers_m": [[9.0, 9.0, 9.0], [9.0, 9.0, 9.0]]},
        {"sample_id": "other", "domain": "room", "is_greedy": True, "centers_m": []},
    ]
    (folder.evaluations / "cold_start.jsonl").write_text("".join(json.dumps(mark) + "\n" for mark in marks))
    return folder


def test_greedy_centres_stand_beside_the_true_ones_of_their_regions(tmp_path: Path) -> None:
    pairs = evaluated_pairs(write_run(tmp_path))["cold_start"]
    assert pairs == [
        Pair("room", (0.0, 0.0, 2.0), (0.3, 0.0, 2.4)),
        Pair("room", (1.0, 0.0, 3.0), (1.0, 0.0, 3.0)),
    ]
    assert [pair.error_m for pair in pairs] == [0.5, 0.0]


def test_the_picture_is_drawn_where_there_are_centres(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    assert draw_centers(folder)
    assert folder.centers_picture.stat().st_size > 10_000
    (folder.evaluations / "cold_start.jsonl").write_text("")
    assert not draw_centers(folder)
