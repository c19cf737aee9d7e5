"""Omni3D's annotations as grounding."""

from pathlib import Path
from typing import Any

import pytest

from corpora.readers.omni3d import Omni3DReader
from rewards.accuracy import is_right
from spatial.dataset import Reject
from spatial.grammar import parse_response
from spatial.images import ImageStore
from spatial.sample import Box2DAnswer, PointAnswer, ReasoningPath, SpatialSample
from tests.corpora.builder.worlds import raw_image, raw_object, write_omni3d
from tests.corpora.fuzz import check_items


def read_all(root: Path, *objects: Any, **changes: Any) -> list[SpatialSample | Reject]:
    file = write_omni3d(root, [raw_image(1)], list(objects))
    config = Omni3DReader(file=file, images=root / "pictures", **changes)
    return check_items(config.read(ImageStore(root / "store")), root / "store")


def test_an_object_is_asked_for_its_centre_its_box_and_its_place(tmp_path: Path) -> None:
    found = read_all(tmp_path, raw_object(1))
    samples = {item.kind: item for item in found if isinstance(item, SpatialSample)}
    assert list(samples) == ["region_center", "region_box", "box_2d"]
    center = samples["region_center"]
    assert center.question == f"Where is the {center.regions[0].mark} point?"
    assert center.answer == PointAnswer(center_m=center.true_centers_m[0]) if center.true_centers_m else False
    assert isinstance(samples["box_2d"].answer, Box2DAnswer)
    assert samples["box_2d"].regions == ()


def test_every_chain_is_right_by_the_rewards(tmp_path: Path) -> None:
    found = read_all(tmp_path, raw_object(1), raw_object(1, 1, category_name="bed", bbox2D_tight=[3, 4, 33, 44]))
    assert len(found) == 6
    for item in found:
        assert isinstance(item, SpatialSample)
        answer = parse_response(ReasoningPath.DIRECT, item.chains[ReasoningPath.DIRECT]).answer
        assert is_right(answer, item.answer)


def test_a_name_that_two_objects_have_is_not_asked_for_its_box(tmp_path: Path) -> None:
    found = read_all(tmp_path, raw_object(1), raw_object(1, 1), kinds=("box_2d",))
    assert found == []
    # One of them cannot be read: the other is still not the only one.
    bad = read_all(tmp_path, raw_object(1), raw_object(1, 1, center_cam=[0, 0, -1]), kinds=("box_2d",))
    (reject,) = bad
    assert isinstance(reject, Reject)
    assert reject.field == "annotations.behind_camera"


@pytest.mark.parametrize("orphan", [{"image_id": 99}, {"image_id": "x"}])
def test_an_annotation_of_no_image_is_a_reject(tmp_path: Path, orphan: dict[str, Any]) -> None:
    rejects = [item for item in read_all(tmp_path, raw_object(1) | orphan) if isinstance(item, Reject)]
    assert [reject.field for reject in rejects] == ["annotations.image_id"]
