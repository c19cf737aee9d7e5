"""SR-REAL's rows: boxes beside marks by colour, masks in texts, and centres in every form that they have."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial.sample import ChoiceAnswer, NumberAnswer, ReasoningPath
from tests.corpora.fuzz import FEW, spoil
from tests.corpora.marked_rows import Row, a_row, read_sr_real, reject, sample, turns

POINT = {"center_cam": [0.46, -0.21, 2.25], "label": "bin", "bbox_2d": [511, 327, 743, 594]}
ONE = "How far is the bin (red point <mask>)?"
TWO = "How far is the bin (red point <mask>) from the table (blue bbox <mask>)?"
TWICE = turns("Is red point <mask> near red point <mask>?", "no")


def one_image(**changes: Any) -> Row:
    """A red point at (64, 50) of 200 x 100 pixels."""
    row = a_row(image=["a.png"], conversations=turns(f"<image>\n{ONE}", "2.3"), blue_point=None, point_img_idx=None)
    return row | {"bbox": [[240, 180, 400, 220]], "image_hw": [400, 800]} | changes


def two_images(**changes: Any) -> Row:
    """A red point on the second image, a blue box on the first; `bbox` holds both by image."""
    row = a_row(conversations=turns(f"<image>\n<image>\n{TWO}", "2.3"), blue_point=None, point_img_idx=[[1]])
    return row | {
        "blue_bbox": [[100, 100, 300, 300]], "bbox_img_idx": [[0]],
        "bbox": {"0": [[80, 40, 240, 120]], "1": [[240, 180, 400, 220]]}, "mask_idx": {"0": [1, 0], "1": [0, 0]},
        "image_hw": [400, 800], **changes,
    }  # fmt: skip


def views(current: int, *centers: list[float] | None) -> Row:
    everywhere = {str(n): {"center_cam": center} for n, center in enumerate(centers) if center}
    return {"current_frame": current, "all_frame_3d": everywhere}


def test_the_centres_in_the_frames_of_the_other_views_are_kept_beside(tmp_path: Path) -> None:
    at = {"red_point": views(1, [-0.1, -2.0, 2.9], [0.5, -0.8, 3.3]), "blue_bbox": views(0, [0.5, 0.1, 2.2])}
    red, blue = sample(read_sr_real(tmp_path, two_images(**{"3d_pos": at}))).regions
    assert red.centers_by_image_m == ((-0.1, -2.0, 2.9), (0.5, -0.8, 3.3))
    assert blue.centers_by_image_m == ((0.5, 0.1, 2.2), None)
    assert (
        sample(read_sr_real(tmp_path, one_image(**{"3d_pos": {"red_point": POINT}}))).regions[0].centers_by_image_m
        == ()
    )


def places(found: Any) -> list[tuple[str, int, tuple[float, ...], Any]]:
    return [(region.mark, region.image_index, region.box_xyxy_px, region.center_m) for region in found.regions]


def test_a_box_of_the_same_object_takes_the_place_of_its_mark(tmp_path: Path) -> None:
    found = sample(read_sr_real(tmp_path, one_image(**{"3d_pos": {"red_point": POINT}})))
    assert found.question == "How far is the bin (red point)?"
    assert places(found) == [("red", 0, (60.0, 45.0, 100.0, 55.0), (0.46, -0.21, 2.25))]
    assert found.regions[0].name == "bin"
    assert found.paths == (ReasoningPath.LOR, ReasoningPath.DTR)
    assert found.answer == NumberAnswer(value=2.3, unit="m")


def test_boxes_by_image_go_to_the_marks_that_their_masks_name(tmp_path: Path) -> None:
    at = {"red_point": views(1, [-0.1, -2.0, 2.9], [0.5, -0.8, 3.3]), "blue_bbox": views(0, [0.5, 0.1, 2.2], [0, 0, 1])}
    found = sample(read_sr_real(tmp_path, two_images(**{"3d_pos": at})))
    assert found.question == "How far is the bin (red point) from the table (blue point)?"
    assert places(found) == [
        ("red", 1, (60.0, 45.0, 100.0, 55.0), (-0.1, -2.0, 2.9)),
        ("blue", 0, (20.0, 10.0, 60.0, 30.0), (0.5, 0.1, 2.2)),
    ]


def test_a_mark_is_on_the_image_of_its_box_where_nothing_else_says_it(tmp_path: Path) -> None:
    found = sample(read_sr_real(tmp_path, two_images(point_img_idx=None, bbox_img_idx=None)))
    assert [(mark, index) for mark, index, _, _ in places(found)] == [("red", 1), ("blue", 0)]
    contrary = two_images(point_img_idx=[[0]])
    assert reject(read_sr_real(tmp_path, contrary)).field == "bbox.0"


def test_tasks_that_count_or_measure_rooms_have_their_own_units(tmp_path: Path) -> None:
    asked = "How large is it? (red point)"
    count = one_image(type="obj_count", conversations=turns(asked, "There are 4 chairs."))
    assert sample(read_sr_real(tmp_path, count)).answer == NumberAnswer(value=4, unit="count")
    many = one_image(conversations=turns("How many chairs are near the red point?", "4"))
    assert sample(read_sr_real(tmp_path, many)).answer == NumberAnswer(value=4, unit="count")
    assert reject(read_sr_real(tmp_path, count | {"type": "room_size", "conversations": turns(asked, "20.5")}))


def test_texts_of_json_are_read_like_what_they_hold(tmp_path: Path) -> None:
    row = two_images(**{"3d_pos": {"red_point": views(1, [1, 2, 3], [1, 2, 4]), "blue_bbox": None}})
    packed = {key: json.dumps(value) if isinstance(value, (dict, list)) else value for key, value in row.items()}
    assert sample(read_sr_real(tmp_path, packed)) == sample(read_sr_real(tmp_path, row))


@pytest.mark.parametrize("colour", ["red", "blue", "green", "yellow"])
@pytest.mark.parametrize("kind", ["point", "bbox"])
def test_every_mark_may_have_a_box_and_a_centre(tmp_path: Path, colour: str, kind: str) -> None:
    mark = [[320, 500]] if kind == "point" else [[300, 450, 500, 550]]
    asked = f"How far is the bin ({colour} {kind} <mask>)?"
    marks = {"red_point": None, f"{colour}_{kind}": mark, "3d_pos": {f"{colour}_{kind}": POINT}}
    row = one_image(conversations=turns(asked, "2.3"), **marks)
    found = sample(read_sr_real(tmp_path, row))
    assert places(found) == [(colour, 0, (60.0, 45.0, 100.0, 55.0), (0.46, -0.21, 2.25))]
    assert found.question == f"How far is the bin ({colour} point)?"


@pytest.mark.parametrize(
    ("changes", "box"),
    [
        ({"image_hw": [[400, 800]]}, (60, 45, 100, 55)),
        ({"image_hw": {"0": [400, 800]}}, (60, 45, 100, 55)),
        ({"bbox": [[240, 180, 400, 220, 400, 800]], "image_hw": None}, (60, 45, 100, 55)),
        ({"bbox": [[60, 45, 100, 55]], "image_hw": None}, (60, 45, 100, 55)),
        ({"bbox": [[60, 45, 204, 55]], "image_hw": None}, (60, 45, 200, 55)),  # cut off at the border
        ({"bbox": {"0": [[240, 180, 400, 220]]}}, (60, 45, 100, 55)),
        ({"bbox": {"0": [[240, 180, 400, 220]]}, "mask_idx": {"0": [0, 0]}}, (60, 45, 100, 55)),
        ({"red_point": None}, (60, 45, 100, 55)),  # the words say which mark it is
        ({"bbox": [240, 180, 400, 220]}, (60, 45, 100, 55)),
        ({"mask_idx": 1}, (60, 45, 100, 55)),
        ({"mask_idx": [0]}, (60, 45, 100, 55)),
        ({"mask_idx": [[0, 0]]}, (60, 45, 100, 55)),
        ({"bbox": []}, (60, 48, 68, 52)),
        ({"bbox": {"0": []}}, (60, 48, 68, 52)),
        ({"bbox": None, "image_hw": None}, (60, 48, 68, 52)),
    ],
)
def test_a_box_is_in_pixels_of_the_size_that_comes_with_it(tmp_path: Path, changes: Row, box: Any) -> None:
    assert sample(read_sr_real(tmp_path, one_image(**changes))).regions[0].box_xyxy_px == pytest.approx(box)


def test_each_image_may_have_a_size_of_its_own_for_its_boxes(tmp_path: Path) -> None:
    boxes = {"0": [[40, 20, 120, 60]], "1": [[240, 180, 400, 220]]}
    found = sample(read_sr_real(tmp_path, two_images(image_hw=[[200, 400], [400, 800]], bbox=boxes)))
    assert [box for _, _, box, _ in places(found)] == [(60.0, 45.0, 100.0, 55.0), (20.0, 10.0, 60.0, 30.0)]


@pytest.mark.parametrize(
    ("question", "num_boxes", "asked"),
    [
        ("Is the red point <mask> far? The red point <mask> is big.", 2, "Is the red point far? The red point is big."),
        ("Is the bin (red point) <mask> far?", 1, "Is the bin (red point) far?"),
        ("Is <mask> (red point) far?", 1, "Is (red point) far?"),
        ("Is the bin in the bbox <mask> far?", 1, "Is the bin in the red point far?"),
        ("Is <mask> far?", 1, "Is red point far?"),
        ("Is the bin (red point) far?", 1, "Is the bin (red point) far?"),
        ("Is the red point far? The red point is dark.", 2, "Is the red point far? The red point is dark."),
        ("Is the bin (red point <mask>) far?", 0, "Is the bin (red point) far?"),
    ],
)  # fmt: skip
def test_masks_are_tied_to_the_mark_beside_them(tmp_path: Path, question: str, num_boxes: int, asked: str) -> None:
    row = one_image(conversations=turns(question, "no"), bbox=[[240, 180, 400, 220]] * num_boxes)
    found = sample(read_sr_real(tmp_path, row))
    assert found.question == asked
    assert [region.mark for region in found.regions] == ["red"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"conversations": turns("How far is <mask> from red point <mask>?", "1")}, "conversations"),
        ({"conversations": turns("Is <mask> nearer than <mask>?", "no"), "bbox": [[1, 2, 3, 4]] * 2}, "conversations"),
        ({"bbox": [[240, 180, 400, 220]] * 2}, "conversations"),
        ({"conversations": TWICE, "bbox": [[240, 180, 400, 220], [250, 180, 400, 220]]}, "bbox.1"),
        ({"bbox": [[600, 180, 700, 220]]}, "bbox.0"),  # not where the red point is
        ({"bbox": [[240, 180, 1400, 220]]}, "bbox.0"),
        ({"bbox": [[240, 180, 240, 220]]}, "bbox.0"),
        ({"bbox": [[240, 180, 400]]}, "bbox"),
        ({"bbox": [[240, 180, 400, 220, 400]]}, "bbox.0"),
        ({"bbox": "boxes.npy"}, "bbox"),
        ({"mask_idx": 2}, "mask_idx"),
        ({"mask_idx": [[1, 0]]}, "mask_idx"),
        ({"bbox": "[[240"}, "bbox"),
        ({"bbox": {"first": [[240, 180, 400, 220]]}}, "bbox"),
        ({"bbox": {"1": [[240, 180, 400, 220]]}}, "mask_idx"),
        ({"bbox": {"0": [[240, 180, 400, 220]]}, "mask_idx": {"0": [0, 1]}}, "mask_idx"),
        ({"bbox": {"0": [[240, 180, 400, 220], [1, 2, 3, 4]]}, "mask_idx": {"0": [0, 0]}}, "mask_idx"),
        ({"bbox": {"0": [[240, 180, 400, 220], [1, 2, 3, 4]]}}, "mask_idx"),
        ({"image_hw": [0, 800]}, "image_hw"),
        ({"image_hw": [400]}, "image_hw"),
        ({"image_hw": [200, 100]}, "image_hw"),  # width and height
        ({"red_point": None, "bbox": None}, "bbox"),
        ({"red_point": None, "bbox": None, "conversations": turns("Is <mask> far?", "no")}, "bbox"),
    ],
)  # fmt: skip
def test_boxes_and_masks_that_do_not_fit_are_named_rejects(tmp_path: Path, changes: Row, field: str) -> None:
    assert reject(read_sr_real(tmp_path, one_image(**changes))).field.startswith(field)


@pytest.mark.parametrize(
    ("centers", "expected"),
    [
        ({"red_point": POINT}, (0.46, -0.21, 2.25)),
        ({"red point": POINT}, (0.46, -0.21, 2.25)),
        ({"red_point": POINT, "blue_point": None}, (0.46, -0.21, 2.25)),
        ({"red_point": {"current_frame": 0, "current_frame_3d": POINT}}, (0.46, -0.21, 2.25)),
        ({"red_point": {"current_frame_3d": POINT}}, (0.46, -0.21, 2.25)),
        ({"red_point": {"all_frame_3d": [POINT]}}, (0.46, -0.21, 2.25)),
        ({"red_point": views(0, [1, 2, 3])}, (1.0, 2.0, 3.0)),
        ([[1, 2, 3]], (1.0, 2.0, 3.0)),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_centre_of_a_mark_is_read_in_every_form(tmp_path: Path, centers: Any, expected: Any) -> None:
    assert sample(read_sr_real(tmp_path, one_image(**{"3d_pos": centers}))).regions[0].center_m == expected


@pytest.mark.parametrize(
    ("centers", "field"),
    [
        ("features.npy", "3d_pos"),
        (2.25, "3d_pos"),
        ([0.46, -0.21, 2.25], "3d_pos"),
        ({"red_point": [0.46, -0.21, 2.25]}, "3d_pos.red_point"),
        ({"red_point": {"center": [0.46, -0.21, 2.25]}}, "3d_pos.red_point"),
        ({"red_point": {"center_cam": [0.46, -0.21]}}, "3d_pos.red_point.center_cam"),
        ({"red_point": {"center_cam": [0.46, -0.21, 2.25, 1]}}, "3d_pos.red_point.center_cam"),
        ({"red_point": {"center_cam": [0.46, -0.21, None]}}, "3d_pos.red_point.center_cam"),
        ({"red_point": {"center_cam": [0.46, -0.21, "far"]}}, "3d_pos.red_point.center_cam"),
        ({"red_point": {"center_cam": 2.25}}, "3d_pos.red_point.center_cam"),
        ({"red_point": {"current_frame": 1, "current_frame_3d": POINT}}, "3d_pos.red_point.current_frame"),
        ({"red_point": {"current_frame": 0, "current_frame_3d": 3}}, "3d_pos.red_point.current_frame_3d"),
        ({"red_point": {"all_frame_3d": 3}}, "3d_pos.red_point.all_frame_3d"),
        ({"red_point": {"all_frame_3d": {"1": POINT}}}, "3d_pos.red_point"),
        ({"blue_point": POINT}, "3d_pos"),
        ({"chair": POINT}, "3d_pos"),
        ({"red_point": POINT, "red_bbox": POINT}, "3d_pos"),
    ],
)
def test_centres_of_an_unknown_form_are_a_named_reject(tmp_path: Path, centers: Any, field: str) -> None:
    row = one_image(**{"3d_pos": centers})
    assert reject(read_sr_real(tmp_path, row)).field.startswith(field)
    assert sample(read_sr_real(tmp_path, row, with_centers=False)).regions[0].center_m is None


def test_a_centre_that_is_no_number_costs_its_row_alone(tmp_path: Path) -> None:
    bad = one_image(**{"3d_pos": {"red_point": {"center_cam": [float("nan"), 0, 1]}}})
    first, second = read_sr_real(tmp_path, bad, one_image(id=8), name="rows.json")
    assert reject([first]).field.startswith("3d_pos.red_point.center_cam")
    assert sample([second]).sample_id == "sr_real/8"


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (POINT, "3d_pos.red_point.center_cam"),  # in whose frame?
        ({"current_frame": 1, "current_frame_3d": POINT}, "3d_pos.red_point.current_frame_3d.center_cam"),
        (views(0, [1, 2, 3], [1, 2, 4]), "3d_pos.red_point.current_frame"),  # it is on the other
        (views(2, [1, 2, 3], [1, 2, 4]), "3d_pos.red_point.current_frame"),
        (views(1, None, [1, 2, 4]), "3d_pos.red_point"),
        (views(1, [1, 2, 3], [1, 2]), "3d_pos.red_point.all_frame_3d.1.center_cam"),
        (views(1, [1, 2, 3], [1, 2, 4], [1, 2, 5]), "3d_pos.red_point.all_frame_3d"),
        ({"current_frame": 1, "all_frame_3d": {"0": POINT, "1": [1, 2, 4]}}, "3d_pos.red_point.all_frame_3d.1"),
    ],
)
def test_with_several_images_centres_must_be_in_the_frame_of_the_first(tmp_path: Path, entry: Row, field: str) -> None:
    assert reject(read_sr_real(tmp_path, two_images(**{"3d_pos": {"red_point": entry}}))).field == field


def test_a_mark_is_on_the_image_that_its_centre_names_where_nothing_else_does(tmp_path: Path) -> None:
    at = {"red_point": views(1, [1, 2, 3], [1, 2, 4]), "blue_point": views(0, [0, 1, 2], [0, 1, 3])}
    found = sample(read_sr_real(tmp_path, a_row(point_img_idx=None, **{"3d_pos": at})))
    assert [(mark, index, center) for mark, index, _, center in places(found)] == [
        ("red", 1, (1.0, 2.0, 3.0)),
        ("blue", 0, (0.0, 1.0, 2.0)),
    ]


def test_regions_by_number_are_those_that_a_question_names(tmp_path: Path) -> None:
    choice = "<image>\nIs <mask> <depth> taller than Region [1] <mask>?\nA. Region [0]\nB. Region [1]"
    row = one_image(
        red_point=None, bbox=[[1, 2, 30, 40], [5, 6, 70, 80], [9, 9, 99, 99]],
        conversations=[*turns(choice, "A"), *turns("How wide is <mask>?", "<answer>1.5</answer>")],
    )  # fmt: skip
    first, second = read_sr_real(tmp_path, row)
    assert sample([first]).question == "Is region 1 taller than region 2?\nA. region 1\nB. region 2"
    assert sample([first]).answer == ChoiceAnswer(letter="A", num_options=2)
    assert [region.label for region in sample([first]).regions] == ["region 1", "region 2"]
    assert [region.label for region in sample([second]).regions] == ["region 3"]
    assert sample([second]).answer == NumberAnswer(value=1.5, unit="m")


def test_masks_alone_are_regions_with_boxes_around_them(tmp_path: Path) -> None:
    rle = [{"size": [100, 200], "counts": [0, 50, 19950]}]
    asked = turns("How wide is <mask>?", "1.5")
    found = sample(read_sr_real(tmp_path, one_image(red_point=None, bbox=None, rle=rle, conversations=asked)))
    assert found.regions[0].box_xyxy_px == (0.0, 0.0, 1.0, 50.0)
    assert found.regions[0].rle_counts == (0, 50, 19950)
    boxed = one_image(red_point=None, bbox=[[0, 0, 800, 400]], rle=rle, conversations=asked)
    assert sample(read_sr_real(tmp_path, boxed)).regions[0].rle_counts == (0, 50, 19950)
    assert reject(read_sr_real(tmp_path, boxed | {"rle": rle * 2})).field == "rle"


@FEW
@given(data=st.data())
def test_whatever_stands_in_a_row_it_is_a_sample_or_a_reject(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    at = {"red_point": views(1, [-0.1, -2.0, 2.9], [0.5, -0.8, 3.3]), "blue_bbox": views(0, [0.5, 0.1, 2.2], [0, 0, 1])}
    one = one_image(**{"3d_pos": {"red_point": POINT}, "rle": [{"size": [100, 200], "counts": [0, 50, 19950]}]})
    row = data.draw(st.sampled_from([one, two_images(**{"3d_pos": at})]))
    # Every item is checked by `check_items`; a row is never passed over in silence.
    assert read_sr_real(tmp_path_factory.mktemp("spoilt"), spoil(row, data.draw))


def test_sr_real_boxes_are_marked_by_number_and_named_where_their_masks_stood(tmp_path: Path) -> None:
    row = a_row(
        conversations=turns("<image>\nIs <mask> taller than <mask>?", "no"), red_point=None, blue_point=None,
        bbox=[[10, 20, 30, 40], [100, 100, 200, 200]], mask_idx=[0, 1], image_hw=[400, 400],
    )  # fmt: skip
    for name in ("rows.jsonl", "rows.json"):
        found = sample(read_sr_real(tmp_path, row, name=name, boxes="pixels"))
        assert found.question == "Is region 1 taller than region 2?"
        assert [(r.label, r.image_index, r.box_xyxy_px) for r in found.regions] == [
            ("region 1", 0, (5.0, 5.0, 15.0, 10.0)),
            ("region 2", 1, (50.0, 25.0, 100.0, 50.0)),
        ]
    assert found.true_centers_m is None


def test_sr_real_centres_are_the_regions_truth(tmp_path: Path) -> None:
    found = sample(read_sr_real(tmp_path, a_row(**{"3d_pos": [[0.1, 0.2, 2], [1, 2.5, 3]]})))
    assert found.true_centers_m == ((0.1, 0.2, 2.0), (1.0, 2.5, 3.0))
    assert reject(read_sr_real(tmp_path, a_row(**{"3d_pos": [[0.1, 0.2, 2]]}))).field == "3d_pos"
    centered = a_row(**{"3d_pos": [[0.1, 0.2, 2], [1, 2.5, 3]]})
    assert sample(read_sr_real(tmp_path, centered, with_centers=False)).true_centers_m is None
    assert reject(read_sr_real(tmp_path, a_row(**{"3d_pos": [[1, 2], [1, 2, 3]]}))).field.startswith("3d_pos")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"bbox": [[10, 20, 30, 40]]}, "bbox"),  # beside marks by colour
        ({"bbox": [[10, 20, 30, 4000]], "red_point": None, "blue_point": None}, "bbox.0"),
        ({"bbox": [[0.1, 0.2, 0.5, 0.6]], "red_point": None, "blue_point": None}, "bbox.0"),
        ({"bbox": [[10, 20, 30, 40]], "mask_idx": [5], "red_point": None, "blue_point": None}, "mask_idx.0"),
        ({"bbox": [[10, 20, 30, 40]], "mask_idx": [0, 1], "red_point": None, "blue_point": None}, "mask_idx"),
        (
            {
                "bbox": [[1, 2, 3, 4]],
                "red_point": None,
                "blue_point": None,
                "conversations": turns("<mask> <mask>?", "1"),
            },
            "conversations",
        ),
    ],
)
def test_sr_real_boxes_that_do_not_fit_are_named_rejects(tmp_path: Path, changes: Row, field: str) -> None:
    assert reject(read_sr_real(tmp_path, a_row(**changes))).field.startswith(field)
