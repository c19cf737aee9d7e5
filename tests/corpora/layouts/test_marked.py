"""SPAR-7M's and SR-REAL's rows, written here in their layout."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from corpora.readers.spar import SparReader
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import (
    Box2DAnswer,
    Camera,
    ChoiceAnswer,
    MotionAnswer,
    NumberAnswer,
    ReasoningPath,
    SpatialSample,
    TextAnswer,
)
from tests.corpora.fuzz import FEW, check_items, spoil
from tests.corpora.marked_rows import Row, a_row, lay_out, read_spar, read_sr_real, reject, sample, turns


def test_a_spar_row_becomes_a_question_with_a_region_on_each_image(tmp_path: Path) -> None:
    found = sample(read_spar(tmp_path, a_row()))
    assert found.question == "How far is the chair (red point) from the bed (blue point)?"
    assert found.answer == NumberAnswer(value=1.3, unit="m")
    assert (found.kind, found.domain, found.paths) == (
        "distance_prediction_oo_mv",
        "spar",
        (ReasoningPath.LOR, ReasoningPath.DTR),
    )
    assert [(r.mark, r.image_index, r.box_xyxy_px) for r in found.regions] == [
        ("red", 0, (60.0, 48.0, 68.0, 52.0)),
        ("blue", 1, (194.0, 43.0, 200.0, 47.0)),  # it ends at the border
    ]


@pytest.mark.parametrize(
    ("task", "marks", "indices", "expected"),
    [
        ("distance_infer_center_oo_mv", "point", [[0, 1, 0]], {"red": 0, "green": 1, "blue": 0}),
        ("depth_prediction_oo_mv", "point", [[0, 1, 0]], {"red": 0, "blue": 1, "green": 0}),
        ("spatial_imagination_oc_mv", "bbox", [[0, 1, 1]], {"green": 0, "blue": 1, "red": 1}),
        ("obj_spatial_relation_oc_mv", "bbox", [[1]], {"red": 1, "blue": 1, "green": 1}),
        ("distance_infer_center_oo", "point", None, {"red": 0, "blue": 0, "green": 0}),
    ],
)
def test_which_image_a_mark_is_on_depends_on_the_task(
    tmp_path: Path, task: str, marks: str, indices: Any, expected: dict[str, int]
) -> None:
    place = [[100, 200]] if marks == "point" else [[100, 200, 300, 400]]
    own = {f"{colour}_{marks}": place for colour in expected}
    row = a_row(type=task, red_point=None, blue_point=None, point_img_idx=None) | own | {f"{marks}_img_idx": indices}
    assert {region.mark: region.image_index for region in sample(read_spar(tmp_path, row)).regions} == expected


@pytest.mark.parametrize(
    ("question", "written", "expected"),
    [
        ("Which is nearer?\nA. the red bbox\nB. the blue bbox", "B", ChoiceAnswer(letter="B", num_options=2)),
        ("Which is nearer?\nA. left\nB. right", "(A) left", ChoiceAnswer(letter="A", num_options=2)),
        ("How did it move?", "move_right:0.4,rotate_up:5", MotionAnswer(moves={"move_right": 0.4, "rotate_up": 5.0})),
        ("How deep?", "120 cm", NumberAnswer(value=1.2, unit="m")),
        ("Which room?", "the kitchen", TextAnswer(text="the kitchen")),
        ("Where is it in the second image?", "[10, 20, 30, 40]", Box2DAnswer(box_xyxy=(10, 20, 30, 40))),
        ("How deep?", "Its depth is about 1.5 meters.", NumberAnswer(value=1.5, unit="m")),
        ("How deep?", "The depth is 1.5.", NumberAnswer(value=1.5, unit="m")),
        ("How deep? The unit is centimeter.", "The depth is 150.", NumberAnswer(value=150.0, unit="cm")),
        ("How deep? In centimeters.", "1.5 m", NumberAnswer(value=150.0, unit="cm")),
        ("Is it left of the bed?", "Yes, it is.", TextAnswer(text="yes")),
        ("How deep is it?", "Yes, it is.", TextAnswer(text="yes")),
        ("Is it nearer than 3 meters?", "Yes, it is 1.5 meters away.", TextAnswer(text="yes")),
        ("Is it left of the bed?", "Incorrect.", TextAnswer(text="no")),
        ("Where is it?", "right, above", TextAnswer(text="right, above")),
        ("Which floor?", "the 2nd floor", TextAnswer(text="the 2nd floor")),
        ("Which room?", "The kitchen.", TextAnswer(text="The kitchen")),
        ("How deep?", "depth: 1.5", NumberAnswer(value=1.5, unit="m")),
        ("Which room?", "room 2", TextAnswer(text="room 2")),
        ("How deep?", "<answer>1.5</answer>", NumberAnswer(value=1.5, unit="m")),
        ("Which?\nA. one\nB. two", "<think>One.</think><answer>A</answer>", ChoiceAnswer(letter="A", num_options=2)),
    ],
)
def test_an_answer_is_typed_by_what_it_looks_like(
    tmp_path: Path, question: str, written: str, expected: object
) -> None:
    assert sample(read_spar(tmp_path, a_row(conversations=turns(question, written)))).answer == expected


def test_sentences_that_state_nothing_are_texts_only_if_they_are_kept(tmp_path: Path) -> None:
    row = a_row(conversations=turns("Where is it?", "It is on the left."))
    assert "keep_sentences" in reject(read_spar(tmp_path, row)).advice
    assert sample(read_spar(tmp_path, row, keep_sentences=True)).answer == TextAnswer(text="It is on the left.")


def test_marks_and_task_are_found_in_a_text_of_json_too(tmp_path: Path) -> None:
    plain = a_row()
    packed = {key: plain[key] for key in ("id", "conversations")} | {"images": plain["image"]}
    packed["spar_info"] = json.dumps({key: plain[key] for key in plain if key not in ("id", "conversations", "image")})
    assert sample(read_spar(tmp_path, packed)) == sample(read_spar(tmp_path, plain))
    texts = plain | {key: json.dumps(plain[key]) for key in ("conversations", "red_point", "point_img_idx", "image")}
    assert sample(read_spar(tmp_path, texts)) == sample(read_spar(tmp_path, plain))
    file = lay_out(tmp_path, [packed], "array.json")
    config = SparReader(file=file, images=tmp_path / "images")
    assert sample(list(config.read(ImageStore(tmp_path / "store")))) == sample(read_spar(tmp_path, plain))


def test_an_instruction_around_a_question_is_left_to_the_prompt(tmp_path: Path) -> None:
    asked = "Think in <think> </think>, answer in <answer> </answer>.\n\n Question: How far is the red point?"
    found = sample(read_spar(tmp_path, a_row(conversations=turns(asked, "1.3"))))
    assert found.question == "How far is the red point?"


def test_what_introduces_an_image_goes_with_it(tmp_path: Path) -> None:
    asked = "Frame-1: <image>\nFrame-2: <image>\nHow far is the red point <mask> from the blue point?"
    found = sample(read_spar(tmp_path, a_row(conversations=turns(asked, "1.3"))))
    assert found.question == "How far is the red point from the blue point?"


def test_boxes_are_called_points_as_the_prompt_calls_them(tmp_path: Path) -> None:
    row = a_row(
        conversations=turns("Is the chair (red bbox) left of the Blue box?", "yes"), red_point=None, blue_point=None,
        red_bbox=[[100, 100, 200, 300]], blue_bbox=[500, 100, 600, 300], bbox_img_idx=[0, 0],
    )  # fmt: skip
    found = sample(read_spar(tmp_path, row))
    assert found.question == "Is the chair (red point) left of the Blue point?"
    assert [region.box_xyxy_px for region in found.regions] == [(20.0, 10.0, 40.0, 30.0), (100.0, 10.0, 120.0, 30.0)]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"image": ["../a.png", "b.jpg"]}, "image.0"),
        ({"image": ["/etc/passwd", "b.jpg"]}, "image.0"),
        ({"image": ["a.png", "c.png"]}, "image.1"),
        ({"red_point": [[1320, 500]]}, "red_point"),
        ({"red_point": [[320, float("nan")]]}, "line"),
        ({"red_point": [[3, 5], [4, 6]]}, "red_point"),
        ({"point_img_idx": [[0, 2]]}, "point_img_idx"),
        ({"blue_point": None, "point_img_idx": None}, "conversations.0.value"),
        ({"conversations": turns("Is it the green bbox?", "no")}, "conversations.0.value"),
        ({"point_img_idx": [[0]]}, "point_img_idx"),
        ({"point_img_idx": [[0, -1]]}, "point_img_idx"),
        ({"red_point": None, "red_bbox": [[300, 100, 200, 300]]}, "sample"),
        ({"type": "room_size"}, "answer"),
        ({"conversations": turns("How far?", "It is far away from the other one, I think.")}, "answer"),
        ({"conversations": turns("How far?", "It is far.")}, "answer"),
        ({"conversations": turns("How far?", "1.5 to 2 meters")}, "answer"),
        ({"conversations": turns("How far?", "2 yards")}, "answer"),
        ({"conversations": turns("How far?", "about one and a half meters")}, "answer"),
        ({"conversations": turns("How far?", "1,5 m")}, "answer"),
        (
            {"conversations": turns("How did it move?", "Move right by 0.4 m, rotate up by 5 degrees.")},
            "answer",
        ),
        ({"conversations": turns("How far?", "It is 30 degrees.")}, "answer"),
        ({"conversations": turns("How far?", "<answer>1</answer> <answer>2</answer>")}, "answer"),
        ({"spar_info": "[1"}, "spar_info"),
        ({"spar_info": [1]}, "spar_info"),
        ({"conversations": turns("Which? A. one B. two", "C")}, "answer"),
        ({"conversations": turns("How did it move?", "move_right:0.4,move_right:0.5")}, "answer"),
        ({"conversations": turns("<image>", "1")}, "conversations"),
        ({"conversations": turns("How far?", "1")[:1]}, "conversations"),
        ({"conversations": turns("How far?", "1")[::-1]}, "conversations.0"),
        ({"conversations": turns("How far?", "1") * 65}, "conversations"),
        ({"conversations": turns("Which is nearer?", "A")}, "answer"),
        ({"conversations": turns("Where is the second camera?", "(617, 517), 1.3")}, "answer"),
        ({"conversations": turns("Where is it in the second image?", "[30,20,10,40]")}, "answer"),
        ({"conversations": turns("Where is it in the second image?", "[10,20,30,4000]")}, "box_xyxy"),
        ({"point_list": [[[1, 2], [3, 4]]]}, "conversations"),
        ({"point_list": [[]]}, "point_list"),
        ({"point_list": [[[1, 2]], [[3, 4]]]}, "point_list"),
        ({"bbox_list": [[[1, 2, 3, 4]] * 100]}, "bbox_list"),
        ({"red_bbox": [[300, 100, 400, 300]]}, "red_bbox"),
        ({"red_point": [[0.553, 0.397]]}, "red_point"),
        ({"conversations": turns("Where is each?", "red: 1, blue: 2")}, "answer"),
        ({"conversations": turns("Where is it?", "x: 0.1, y: 0.2, z: 1.5")}, "answer"),
        ({"conversations": turns("Where is it?", "[0.1,0.2,1.5]")}, "answer"),
        ({"conversations": turns("How far?", "two")}, "answer"),
        ({"conversations": turns("How far?", "nan")}, "answer"),
        ({"conversations": turns("How far?", "None")}, "answer"),
    ],
)
def test_a_row_that_contradicts_itself_is_a_named_reject(tmp_path: Path, changes: Row, field: str) -> None:
    found = reject(read_spar(tmp_path, a_row(**changes)))
    assert found.line == 1
    assert found.field.startswith(field)


def test_a_second_row_of_the_same_id_is_a_reject(tmp_path: Path) -> None:
    first, second = read_spar(tmp_path, a_row(), a_row())
    assert isinstance(first, SpatialSample)
    assert isinstance(second, Reject)
    assert second.field == "sample_id"


def test_every_question_of_a_row_is_a_sample_and_a_bad_one_costs_itself(tmp_path: Path) -> None:
    asked = "How far is the red point?"
    row = a_row(conversations=[*turns(asked, "1.3"), *turns(asked, "It is not so far."), *turns(asked, "2")], id="s")
    for read in (read_spar, read_sr_real):
        first, second, third = read(tmp_path, row, max_words=3)
        assert isinstance(first, SpatialSample)
        assert isinstance(second, Reject)
        assert isinstance(third, SpatialSample)
        assert (first.answer, third.answer) == (NumberAnswer(value=1.3, unit="m"), NumberAnswer(value=2.0, unit="m"))
        assert third.sample_id == f"{first.sample_id}-3"


def test_listed_marks_are_regions_by_number_and_are_called_so(tmp_path: Path) -> None:
    options = "Which is nearest to objectA?\nA. object0\nB. the chair (object1)"
    row = a_row(
        conversations=turns(options, "B"), red_point=None, blue_point=None,
        point_list=[[[100, 200], [300, 400], [500, 600]]], point_img_idx=[[1, 0, 1]],
    )  # fmt: skip
    found = sample(read_spar(tmp_path, row))
    assert found.question == "Which is nearest to region 1?\nA. region 2\nB. the chair (region 3)"
    assert [(region.mark, region.image_index) for region in found.regions] == [("1", 1), ("2", 0), ("3", 1)]
    assert found.regions[1].box_xyxy_px == (56.0, 38.0, 64.0, 42.0)
    boxes = a_row(
        conversations=turns("What is nearest to object1?", "object0"), red_point=None, blue_point=None,
        bbox_list=[[[100, 200, 300, 400], [500, 600, 700, 800]]], point_img_idx=None,
    )  # fmt: skip
    found = sample(read_spar(tmp_path, boxes))
    assert (found.question, found.answer) == ("What is nearest to region 2?", TextAnswer(text="region 1"))
    assert reject(read_spar(tmp_path, boxes | {"conversations": turns("How many?", "two")})).field == "conversations"


def test_videos_name_their_colours_by_number(tmp_path: Path) -> None:
    row = a_row(
        type="spatial_imagination_oc_video", conversations=turns("Is object0 left of object2?", "no"),
        red_point=None, blue_point=None, point_img_idx=None, bbox_img_idx=[[0, 1, 1]],
        **{f"{colour}_bbox": [[100, 200, 300, 400]] for colour in ("red", "blue", "green")},
    )  # fmt: skip
    found = sample(read_spar(tmp_path, row))
    assert found.question == "Is green point left of red point?"
    assert {region.mark: region.image_index for region in found.regions} == {"red": 1, "blue": 1, "green": 0}


def test_a_room_is_measured_in_no_unit_of_ours_but_chosen_among_options(tmp_path: Path) -> None:
    row = a_row(type="room_size", conversations=turns("How large?\nA. 20 m2\nB. 30 m2", "B"))
    assert sample(read_spar(tmp_path, row)).answer == ChoiceAnswer(letter="B", num_options=2)
    assert "area" in reject(read_spar(tmp_path, row | {"conversations": turns("How large?", "20.5")})).advice
    count = a_row(type="obj_count", conversations=turns("How many chairs?", "4"))
    assert sample(read_spar(tmp_path, count)).answer == NumberAnswer(value=4.0, unit="count")


def test_a_folder_is_read_whole_and_its_names_tell_forms_apart(tmp_path: Path) -> None:
    for form in ("select", "fill", "other"):
        (tmp_path / "qa/train/depth" / form).mkdir(parents=True)
        lay_out(tmp_path, [a_row(format_type=None)], f"qa/train/depth/{form}/1.jsonl")
    (tmp_path / "qa/readme.txt").write_text("no data")
    config = SparReader(file=tmp_path / "qa", images=tmp_path / "images")
    found = check_items(config.read(ImageStore(tmp_path / "store")), tmp_path / "store")
    ids = [item.sample_id for item in found if isinstance(item, SpatialSample)]
    assert ids == [f"spar/7/distance_prediction_oo_mv/{form}" for form in ("fill", "", "select")]
    with pytest.raises(FileNotFoundError, match=r"no \.jsonl"):
        config.replace(file=tmp_path / "store").read(ImageStore(tmp_path / "store"))


def test_the_forms_that_are_asked_for_are_read(tmp_path: Path) -> None:
    for name in ("depth/select/1.jsonl", "depth/sentence/sentence_9.jsonl", "fill_7.jsonl", "mixed.jsonl"):
        (tmp_path / "qa" / name).parent.mkdir(parents=True, exist_ok=True)
        lay_out(tmp_path, [a_row(id=name, format_type=None)], f"qa/{name}")
    rows = [a_row(id="s", format_type="select"), a_row(id="f", format_type="fill")]
    lay_out(tmp_path, rows, "qa/own.jsonl")

    def ids(*forms: str) -> set[str]:
        config = SparReader(file=tmp_path / "qa", images=tmp_path / "images", forms=forms)
        found = check_items(config.read(ImageStore(tmp_path / "store")), tmp_path / "store")
        return {item.sample_id.removeprefix("spar/").split("/distance")[0] for item in found}

    assert ids("fill") == {"fill_7.jsonl", "mixed.jsonl", "f"}
    assert ids("select", "sentence") == {
        "depth/select/1.jsonl", "depth/sentence/sentence_9.jsonl", "mixed.jsonl", "s",
    }  # fmt: skip
    (tmp_path / "one/fill").mkdir(parents=True)
    lay_out(tmp_path, [a_row()], "one/fill/fill_1.jsonl")
    config = SparReader(file=tmp_path / "one", images=tmp_path / "images", forms=("select",))
    with pytest.raises(FileNotFoundError, match="forms=select"):
        config.read(ImageStore(tmp_path / "store"))


def a_scene(root: Path, matrix: str, name: str = "intrinsic_color") -> Row:
    """A row about a scene of the RGBD version: 200 × 100 pixels of colour, 100 × 50 of depth."""
    lay_out(root, [])
    scene = root / "images/scene0261_00"
    for part in ("image_color", "image_depth", "intrinsic"):
        (scene / part).mkdir(parents=True, exist_ok=True)
    (root / "images/b.jpg").rename(scene / "image_color/543.jpg")
    levels = np.full((50, 100), 2500, dtype=np.uint16)
    levels[0, 0] = 0
    Image.fromarray(levels).save(scene / "image_depth/543.png")
    (scene / f"intrinsic/{name}.txt").write_text(matrix)
    return a_row(
        image=["scene0261_00/image_color/543.jpg"], depth=["scene0261_00/image_depth/543.png"], point_img_idx=None
    )


MATRIX_4X4 = "150.5 0 99 0\n0 150 49 0\n0 0 1 0\n0 0 0 1\n"


@pytest.mark.parametrize(("matrix", "name"), [(MATRIX_4X4, "intrinsic_color"), ("150.5 0 99\n0 150 49\n0 0 1", "543")])
def test_rgbd_rows_bring_depth_of_their_images_size_and_their_scenes_camera(
    tmp_path: Path, matrix: str, name: str
) -> None:
    row = a_scene(tmp_path, matrix, name)
    found = sample(read_spar(tmp_path, row, with_depth=True))
    assert found.camera == Camera(fx_px=150.5, fy_px=150.0, cx_px=99.0, cy_px=49.0)
    assert found.depths[0] is not None
    depth_m = ImageStore(tmp_path / "store").open_depth(found.depths[0])
    assert depth_m.shape == (100, 200)
    assert np.isnan(depth_m[:2, :2]).all()
    assert (depth_m[2:] == 2.5).all()
    without = sample(read_spar(tmp_path, row))
    assert (without.depths, without.camera) == ((), found.camera)
    assert sample(read_spar(tmp_path, a_row())).camera is None


@pytest.mark.parametrize(
    ("matrix", "changes", "field"),
    [
        ("150 0 99\n0 150", {}, "intrinsic.matrix"),
        ("", {}, "intrinsic.matrix"),
        ("\xff", {}, "intrinsic"),
        ("nan 0 99\n0 150 49\n0 0 1", {}, "intrinsic"),
        ("0 0 99\n0 150 49\n0 0 1", {}, "intrinsic"),
        ("1170 0 647\n0 1170 483\n0 0 1", {}, "intrinsic"),  # of a larger image
        (MATRIX_4X4, {"depth": ["../rows.jsonl"]}, "depth"),
        (MATRIX_4X4, {"depth": ["scene0261_00/image_color/543.jpg"]}, "depth"),
        (MATRIX_4X4, {"depth": ["a.png"]}, "depth"),
        (MATRIX_4X4, {"depth": ["c.png"]}, "depth"),
        (MATRIX_4X4, {"depth": ["a.png", "a.png"]}, "depth"),
        (MATRIX_4X4, {"depth": 3}, "depth"),
    ],
)
def test_a_camera_or_a_depth_map_that_does_not_fit_is_a_named_reject(
    tmp_path: Path, matrix: str, changes: Row, field: str
) -> None:
    row = a_scene(tmp_path, matrix)
    assert reject(read_spar(tmp_path, row | changes, with_depth=True)).field.startswith(field)


def test_a_name_as_long_as_a_file_may_have_has_no_camera(tmp_path: Path) -> None:
    lay_out(tmp_path, [])
    (tmp_path / "images/a.png").rename(tmp_path / "images" / ("a" * 255))
    assert sample(read_spar(tmp_path, a_row(image=["a" * 255, "b.jpg"]))).camera is None


@FEW
@given(data=st.data())
@pytest.mark.parametrize("read", [read_spar, read_sr_real])
def test_a_spoilt_row_is_samples_or_rejects(tmp_path_factory: pytest.TempPathFactory, read: Any, data: Any) -> None:
    root = tmp_path_factory.mktemp("spoilt")
    numbered = {"bbox": [[1, 2, 3, 4]], "mask_idx": [0], "image_hw": [9, 9], "3d_pos": [[1, 2, 3]]}
    listed = {"bbox_list": [[[1, 2, 3, 4]]], "bbox_img_idx": [[0]], "conversations": turns("Is it object0?", "yes")}
    row = a_scene(root, MATRIX_4X4) | data.draw(st.sampled_from([{}, numbered, listed]))
    settings = {"with_depth": True} if read is read_spar else {}
    assert read(root, spoil(row, data.draw), **settings)


@FEW
@given(cut=st.integers(2, 300))
def test_a_file_that_breaks_off_is_read_as_far_as_it_goes(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    root = tmp_path_factory.mktemp("cut")
    file = lay_out(root, [a_row(), a_row(id=8)])
    file.write_bytes(file.read_bytes()[:-cut])
    config = SparReader(file=file, images=root / "images")
    found = check_items(config.read(ImageStore(root / "store")), root / "store")
    assert isinstance(found[0], SpatialSample)
    assert [item.field for item in found[1:] if isinstance(item, Reject)] == ["line"]


def test_an_image_that_is_none_is_a_reject(tmp_path: Path) -> None:
    lay_out(tmp_path, [])
    (tmp_path / "images/broken.png").write_bytes(io.BytesIO(b"\x89PNG\r\n\x1a\n junk").getvalue())
    assert reject(read_spar(tmp_path, a_row(image=["a.png", "broken.png"]))).field == "image.1"
