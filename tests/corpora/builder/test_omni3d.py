"""Annotated images from a file in Omni3D's layout: literal values, and a name for all that is wrong."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora.builder.annotated import AnnotatedImage, LoadedImage
from corpora.builder.config import Omni3DSource
from corpora.builder.omni3d import Omni3DImages
from spatial.images import ImageStore
from spatial.questions.measures import across_m
from spatial.sample import Camera

from .worlds import raw_image, raw_object, write_omni3d


def read(folder: Path, file: Path, **changes: Any) -> tuple[list[LoadedImage], Omni3DImages]:
    """All images of a file, and the closed source."""
    source = Omni3DImages(
        Omni3DSource(file=file, images=folder / "pictures", **changes), ImageStore(folder / "out" / "images")
    )
    found = [source.load(index) for index in range(len(source))]
    source.close()
    return found, source


def only(folder: Path, *objects: Any, **changes: Any) -> LoadedImage:
    found, source = read(folder, write_omni3d(folder, [raw_image(1, **changes)], list(objects)))
    assert source.rejects.counts == {}
    return found[0]


def turned(degrees: float, pitch_deg: float = 0.0) -> np.ndarray:
    """Columns length, height, width of an upright box of this yaw, seen by a camera that looks down by `pitch_deg`."""
    yaw, pitch = math.radians(degrees), math.radians(pitch_deg)
    width = np.array([math.cos(yaw), 0.0, math.sin(yaw)])
    down = np.array([0.0, 1.0, 0.0])
    level = np.stack([np.cross(down, width), down, width], axis=1)
    cos, sin = math.cos(pitch), math.sin(pitch)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ level


def test_an_annotation_becomes_an_object(tmp_path: Path) -> None:
    tight = raw_object(1, 1, bbox2D_tight=[3, 4, 33, 44], category_name="night stand", dimensions=[0.5, 0.9, 2])
    image = only(tmp_path, raw_object(1), tight).image
    assert image is not None
    assert (image.key, image.domain) == ("1", "omni3d")
    assert image.camera == Camera(fx_px=60.0, fy_px=61.0, cx_px=50.0, cy_px=25.0)
    chair, stand = image.objects
    assert chair.box_xyxy_px == (0.0, 10.0, 18.0, 40.0)
    assert (stand.name, stand.box_xyxy_px) == ("night stand", (3.0, 4.0, 33.0, 44.0))
    assert (stand.center_m, stand.size_m) == ((-0.8, 0.0, 2.0), (0.5, 0.9, 2.0))
    assert stand.yaw_deg == 0.0
    assert across_m(stand) == 0.5
    assert image.uncountable == frozenset()


@pytest.mark.parametrize(("degrees", "width_m"), [(0.0, 0.5), (90.0, 2.0), (30.0, 0.5 * 0.75**0.5 + 1.0)])
@pytest.mark.parametrize("pitch_deg", [0.0, 35.0, 59.0])
def test_the_width_lies_across_the_view_wherever_the_camera_looks(
    tmp_path: Path, degrees: float, width_m: float, pitch_deg: float
) -> None:
    rotation = turned(degrees, pitch_deg).tolist()
    image = only(tmp_path, raw_object(1, dimensions=[0.5, 0.9, 2.0], R_cam=rotation)).image
    assert image is not None
    (found,) = image.objects
    assert across_m(found) == pytest.approx(width_m)
    assert found.size_m[1] == 0.9
    assert sorted(found.size_m) == [0.5, 0.9, 2.0]


def test_a_box_that_leans_or_is_turned_by_no_rotation_is_a_reject(tmp_path: Path) -> None:
    leaning = raw_object(1, R_cam=turned(20.0, 61.0).tolist())
    wrong = raw_object(1, R_cam=(1.1 * turned(20.0)).tolist())
    advice = [reject.advice for reject in only(tmp_path, leaning, wrong).rejects]
    assert advice == ["leans by more than max_tilt_deg=60.0", "no rotation"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"valid3D": False}, "annotations.valid3D"),
        ({"behind_camera": True}, "annotations.behind_camera"),
        ({"center_cam": [0, 0, -1]}, "annotations.behind_camera"),
        ({"center_cam": [0, 0, 61]}, "annotations.center_cam"),
        ({"center_cam": [0, 0]}, "annotations.center_cam.2"),
        ({"center_cam": [0, 0, None]}, "annotations.center_cam.2"),
        ({"truncation": 0.3}, "annotations.truncation"),
        ({"visibility": 0.3}, "annotations.visibility"),
        ({"bbox2D_trunc": [0, 10, 101, 40]}, "annotations.bbox2D"),
        ({"bbox2D_trunc": [0, 10, 11, 40]}, "annotations.bbox2D"),
        ({"bbox2D_trunc": [30, 10, 11, 40]}, "annotations.bbox2D"),
        ({"bbox2D_trunc": None, "bbox2D_proj": None}, "annotations.bbox2D"),
        ({"dimensions": [-1, -1, -1]}, "annotations.size_m.0"),
        ({"dimensions": "large"}, "annotations.dimensions"),
        ({"R_cam": [[1, 0, 0], [0, 0, -1], [0, 1, 0]]}, "annotations.R_cam"),
        ({"category_name": "a<answer>b"}, "annotations.name"),
        ({"category_name": ""}, "annotations.name"),
    ],
)
def test_a_bad_annotation_is_a_named_reject_and_its_category_is_not_counted(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    bad = raw_object(1, 1, **changes)
    loaded = only(tmp_path, raw_object(1, slot=2, category_name="sofa"), bad)
    (reject,) = loaded.rejects
    assert (reject.field, reject.line, reject.file.name) == (field, 2, "set.json")
    assert loaded.image is not None
    assert [found.name for found in loaded.image.objects] == ["sofa"]
    assert loaded.image.uncountable == {bad["category_name"]}


def test_an_annotation_without_a_category_makes_every_category_uncountable(tmp_path: Path) -> None:
    loaded = only(tmp_path, raw_object(1), raw_object(1, 1, category_name=None))
    assert loaded.image is not None
    assert loaded.image.uncountable == {"*"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"file_path": "day/9.png"}, "images.file_path"),
        ({"file_path": "../set.json"}, "images.file_path"),
        ({"file_path": "/etc/hostname"}, "images.file_path"),
        ({"width": 99}, "images.width"),
        ({"K": [[-1, 0, 50], [0, 60, 25], [0, 0, 1]]}, "images.fx_px"),
        ({"K": [60, 60]}, "images.K.0"),
    ],
)
def test_an_image_that_cannot_be_used_is_a_named_reject(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    loaded = only(tmp_path, raw_object(1), **changes)
    assert loaded.image is None
    assert [reject.field for reject in loaded.rejects] == [field]


def test_rows_that_belong_to_no_image_are_counted(tmp_path: Path) -> None:
    images = [raw_image(1), raw_image(1, width=5), "no row", raw_image(2)]
    objects = [raw_object(2), raw_object(3), {"category_name": "chair"}, raw_object(1), 7]
    found, source = read(tmp_path, write_omni3d(tmp_path, images, objects))
    assert [loaded.image.key for loaded in found if loaded.image] == ["1", "2"]
    assert [len(loaded.image.objects) for loaded in found if loaded.image] == [1, 1]
    assert source.rejects.counts == {
        "annotations.image_id": 3,
        "images.id": 2,
    }
    assert source.rejects.examples["images.id"].startswith(f"{tmp_path}/set.json:2: images.id: '1': an earlier image")


def test_annotations_may_stand_in_any_order_and_before_the_images(tmp_path: Path) -> None:
    objects = [raw_object(1 + i % 3, i, slot=i // 3) for i in range(9)]
    file = write_omni3d(tmp_path, [raw_image(n) for n in (3, 1, 2)], objects)
    first, _ = read(tmp_path, file)
    content = json.loads(file.read_text())
    content["annotations"].sort(key=lambda row: row["image_id"])
    file.write_text(json.dumps({key: content[key] for key in ("annotations", "images")}))
    assert read(tmp_path, file)[0] == first
    assert [loaded.image.key for loaded in first if loaded.image] == ["3", "1", "2"]
    assert [len(loaded.image.objects) for loaded in first if loaded.image] == [3, 3, 3]


def test_a_file_that_breaks_off_gives_what_stands_before(tmp_path: Path) -> None:
    file = write_omni3d(tmp_path, [raw_image(1)], [raw_object(1), raw_object(1, 1)])
    file.write_text(file.read_text()[:-40])
    found, source = read(tmp_path, file)
    assert [len(loaded.image.objects) for loaded in found if loaded.image] == [1]
    assert source.rejects.counts == {"row": 1}


def test_a_file_that_is_missing_stops_the_reader(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path, tmp_path / "none.json")


_JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5), st.lists(st.integers(-1, 200), max_size=4),
    st.lists(st.lists(st.floats(-2, 2), max_size=3), max_size=3),
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(
    image=st.dictionaries(st.sampled_from(sorted(set(raw_image(1)) - {"id"})), _JUNK, max_size=2),
    found=st.dictionaries(st.sampled_from(sorted(raw_object(1))), _JUNK, max_size=3),
)
def test_whatever_a_row_holds_it_is_an_object_or_a_reject(
    tmp_path_factory: pytest.TempPathFactory, image: dict[str, Any], found: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    file = write_omni3d(folder, [raw_image(1) | image, raw_image(2)], [raw_object(1) | found, raw_object(2)])
    (first, second), source = read(folder, file)
    assert isinstance(second.image, AnnotatedImage)
    assert len(second.image.objects) >= 1
    num_found = sum(len(loaded.image.objects) for loaded in (first, second) if loaded.image)
    num_rejects = len(first.rejects) + len(second.rejects) + sum(source.rejects.counts.values())
    if first.image:
        assert num_found + num_rejects == 2
    else:
        assert len(first.rejects) == 1
