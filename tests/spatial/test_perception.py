"""Questions that are answered at once, built from scenes and read again."""

import itertools
from collections import Counter
from pathlib import Path

import pytest

from rewards.accuracy import is_right
from spatial.grammar import parse_response
from spatial.images import ImageStore
from spatial.sample import Box2DAnswer, Box3DAnswer, PlacesAnswer, PointAnswer, ReasoningPath, SpatialSample
from spatial.scenes.build import build_dataset
from spatial.scenes.config import DIRECT_KINDS, SceneConfig
from spatial.tasks import task_of
from tests.samples import load_samples

CONFIG = SceneConfig(questions_per_scene=1, direct_per_scene=6)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[SpatialSample]:
    return [s for s in build(tmp_path_factory.mktemp("direct"), CONFIG) if s.paths == (ReasoningPath.DIRECT,)]


def build(root: Path, config: SceneConfig, num_scenes: int = 120) -> tuple[SpatialSample, ...]:
    file = build_dataset(config, root, {"train": num_scenes}, seed=5)["train"]
    return load_samples(file, ImageStore(root / "images"), max_bad_share=0.0).samples


def test_every_kind_is_asked_about_as_often_as_its_weight_says(samples: list[SpatialSample]) -> None:
    assert len(samples) == 6 * 120
    counts = Counter(sample.kind for sample in samples)
    assert set(counts) == set(DIRECT_KINDS)
    assert all(10 < counts[kind] < 70 for kind in ("scene", "count", "exists", "region_center", "place")), counts


def test_every_response_is_an_answer_alone_and_right(samples: list[SpatialSample]) -> None:
    for sample in samples:
        parsed = parse_response(ReasoningPath.DIRECT, sample.chains[ReasoningPath.DIRECT])
        assert parsed.well_formed
        assert is_right(parsed.answer, sample.answer), sample


def test_no_question_of_a_scene_is_asked_twice(samples: list[SpatialSample]) -> None:
    asked = Counter((s.images, s.kind, s.question if not s.regions else s.regions[0].box_xyxy_px) for s in samples)
    assert max(asked.values()) == 1


def test_places_agree_with_the_camera_and_the_regions(samples: list[SpatialSample]) -> None:
    num_checked = 0
    for sample in samples:
        match sample.answer:
            case PointAnswer(center_m=center_m) | Box3DAnswer(center_m=center_m) if sample.regions:
                left, top, right, bottom = sample.regions[0].box_xyxy_px
            case Box2DAnswer(box_xyxy=box):
                assert all(0 <= side <= 1000 for side in box)
                continue
            case _:
                continue
        camera = sample.camera
        assert camera is not None
        x, y, z = center_m
        # The visible part may be a share of the object: its centre projects near the box, within its size.
        assert left - (right - left) < camera.fx_px * x / z + camera.cx_px < right + (right - left)
        assert top - (bottom - top) < camera.fy_px * y / z + camera.cy_px < bottom + (bottom - top)
        num_checked += 1
    assert num_checked > 30


def test_only_region_kinds_have_regions(samples: list[SpatialSample]) -> None:
    assert all(bool(sample.regions) == sample.kind.startswith("region_") for sample in samples)


def test_a_scene_lists_its_objects_from_left_to_right(samples: list[SpatialSample]) -> None:
    for sample in samples:
        if isinstance(sample.answer, PlacesAnswer):
            tangents = [x / z for x, _, z in sample.answer.centers_m.values()]
            # Centres are rounded as they are written, so neighbours may swap by as much.
            assert all(left <= right + 0.02 for left, right in itertools.pairwise(tangents))


def test_asking_at_once_changes_no_other_question(tmp_path: Path) -> None:
    without = build(tmp_path / "without", CONFIG.replace(direct_per_scene=0), num_scenes=10)
    both = build(tmp_path / "with", CONFIG, num_scenes=10)
    assert [sample for sample in both if sample.paths != (ReasoningPath.DIRECT,)] == list(without)


def test_tasks_follow_from_the_path_and_the_answer(samples: list[SpatialSample]) -> None:
    tasks = {sample.kind: task_of(sample, ReasoningPath.DIRECT) for sample in samples}
    assert tasks["scene"] == tasks["place"] == tasks["region_center"] == tasks["region_box"] == "grounding_3d"
    assert tasks["box_2d"] == "grounding_2d"
    assert tasks["count"] == tasks["region_name"] == tasks["depth"] == "plain"
    assert task_of(samples[0], ReasoningPath.LOR) == "lor"


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown kind 'region_centre': did you mean 'region_center'"):
        SceneConfig(direct_weights={"region_centre": 1.0})
    with pytest.raises(ValueError, match="direct_weights are all 0"):
        SceneConfig(direct_per_scene=1, direct_weights={"scene": 0.0})


def test_a_share_of_the_chains_ends_in_a_wrong_answer(tmp_path: Path) -> None:
    config = SceneConfig(wrong_chain_share=0.3, direct_per_scene=2)
    samples = build(tmp_path, config)
    rights = [
        (path, is_right(parse_response(path, chain).answer, sample.answer))
        for sample in samples
        for path, chain in sample.chains.items()
    ]
    reasoned = [right for path, right in rights if path is not ReasoningPath.DIRECT]
    assert 0.65 < sum(reasoned) / len(reasoned) < 0.75
    assert all(right for path, right in rights if path is ReasoningPath.DIRECT)
    assert all(parse_response(path, chain).well_formed for s in samples for path, chain in s.chains.items())
