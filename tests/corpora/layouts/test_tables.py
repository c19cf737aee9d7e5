"""Tables as people publish them: answers in tags, options in every form, nested columns, regions, cameras, chains."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpora.layouts.columns import Columns, UnknownColumnError
from corpora.rows import RowError
from corpora.texts.answers import read_answer
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import Camera, ChoiceAnswer, NumberAnswer, ReasoningPath, SpatialSample, TextAnswer, Unit
from tests.corpora.fuzz import FEW, spoil
from tests.corpora.readers.test_hugging_face import Row, a_row, a_table, columns, read_one, split, write

LOR = "<think>Two and one.</think><answer>3</answer>"
DTR = (
    '<detect>Find 1 relevant objects:\n<3d_box center="0.00,0.10,2.00">cup (red point)</3d_box></detect>'
    "<think>It is at 2.00.</think><answer>2 m</answer>"
)


def good(root: Path, row: Row, **settings: Any) -> SpatialSample:
    item = read_one(root, row, **settings)
    assert isinstance(item, SpatialSample), str(item)
    return item


def bad(root: Path, row: Row, **settings: Any) -> Reject:
    item = read_one(root, row, **settings)
    assert isinstance(item, Reject), item
    return item


@pytest.mark.parametrize(
    ("gold", "unit", "answer"),
    [
        ("<answer>7</answer>", None, NumberAnswer(value=7, unit="count")),
        ("<think>I count 3, then 4.</think>\n<answer> 7 </answer>", None, NumberAnswer(value=7, unit="count")),
        ("\\boxed{7}", None, NumberAnswer(value=7, unit="count")),
        ("<answer>2.5 m</answer>", None, NumberAnswer(value=2.5, unit="m")),
        ("<answer>2.5</answer>", "m", NumberAnswer(value=2.5, unit="m")),
        ("It is about 2.5 meters away.", "m", NumberAnswer(value=2.5, unit="m")),
        ("250 cm", "m", NumberAnswer(value=2.5, unit="m")),
        ("7.0", None, NumberAnswer(value=7, unit="count")),
        ("1,200", None, NumberAnswer(value=1200, unit="count")),
        ("<answer>7", None, NumberAnswer(value=7, unit="count")),
        ("The answer is 7.", None, NumberAnswer(value=7, unit="count")),
        ("Yes, it is.", None, TextAnswer(text="yes")),
        ("Left.", None, TextAnswer(text="Left")),
        ("<answer>a cup</answer>", None, TextAnswer(text="a cup")),
        ("2nd floor", None, TextAnswer(text="2nd floor")),
        ("3D printer", None, TextAnswer(text="3D printer")),
    ],
)
def test_an_answer_is_what_stands_in_tags_or_what_a_sentence_states(
    tmp_path: Path, gold: str, unit: Unit | None, answer: Any
) -> None:
    assert good(tmp_path, a_row(q="What?", choices=None, gold=gold), unit=unit).answer == answer


@pytest.mark.parametrize("gold", ["7", "seven", "7 chairs", "There are seven chairs.", 7, 7.0])
def test_how_many_asks_for_a_count(tmp_path: Path, gold: Any) -> None:
    found = good(tmp_path, a_row(q="How many chairs are there?", choices=None, gold=gold))
    assert found.answer == NumberAnswer(value=7, unit="count")


def test_the_unit_that_a_question_asks_for_is_that_of_a_bare_answer(tmp_path: Path) -> None:
    row = a_row(q="How far is it, in centimeters?", choices=[], gold="2.5")
    assert good(tmp_path, row).answer == NumberAnswer(value=2.5, unit="cm")


@pytest.mark.parametrize(
    ("gold", "unit", "advice"),
    [
        ("2.5", None, "set unit"),
        ("2 yards", "m", "cannot be read in m"),
        ("It is far away.", None, "answer_type=text keeps it"),
        ("B", None, "there are no options"),
        ("<answer>1</answer><answer>2</answer>", None, "several answers"),
        ("<answer> </answer>", None, "empty"),
        (float("nan"), None, ""),
        ("2 to 3 m", None, "no single quantity"),
        ("2,5 m", None, "no single quantity"),
        ("12 m2", None, "no single quantity"),
        ("5'6\"", None, "no single quantity"),
        ("$2$ m", None, "no single quantity"),
    ],
)
def test_what_no_reward_could_compare_is_no_silent_text(
    tmp_path: Path, gold: Any, unit: Unit | None, advice: str
) -> None:
    row = a_row(q="What?", choices=None, gold=gold)
    assert advice in bad(tmp_path, row, unit=unit).advice
    if isinstance(gold, str) and "<" not in gold:
        assert good(tmp_path, row, unit=unit, answer_type="text").answer == TextAnswer(text=gold)


@pytest.mark.parametrize(
    "options",
    [
        "['left', 'right']",
        '["left", "right"]',
        "['left' 'right']",  # as NumPy prints them
        "['left', 'r\\ight']",
        "A. left\nB. right",
        "A. left B. right",
        "(A) left (B) right",
        "A) left; B) right",
        "left\nright",
        "left | right",
        '{"A": "left", "B": "right"}',
        ["A. left", "B. right"],
        ["a. left", "b. right"],
        ["left", "right", None, ""],
        {"A": "left", "B": "right", "C": None},
        {"text": ["left", "right"], "label": ["A", "B"]},
    ],
)
def test_options_are_read_in_every_form(tmp_path: Path, options: Any) -> None:
    found = good(tmp_path, a_row(choices=options, gold="right"))
    assert found.answer == ChoiceAnswer(letter="B", num_options=2)
    assert found.question == "Which is nearer?\nA. left\nB. right\nAnswer with the letter of the right option."


@pytest.mark.parametrize("options", [None, [], "", "[]", "nan", "None", [None, None], ["", ""], {}, {"A": None}])
def test_without_options_in_its_column_a_row_is_no_choice_but_by_its_question(tmp_path: Path, options: Any) -> None:
    found = good(tmp_path, a_row(q="How far?", choices=options, gold="2.5"), unit="m")
    assert found.answer == NumberAnswer(value=2.5, unit="m")
    found = good(tmp_path, a_row(q="Which? A. left B. right", choices=options, gold="B"))
    assert found.answer == ChoiceAnswer(letter="B", num_options=2)


def test_numbers_are_options_too(tmp_path: Path) -> None:
    found = good(tmp_path, a_row(choices=[1, 2.5], gold="B"))
    assert "\nA. 1\nB. 2.5\n" in found.question


@pytest.mark.parametrize(
    "question",
    [
        "Which is nearer?\nA. left\nB. right",
        "Which is nearer? Options: (A) Left (B) Right.",
        "Which is nearer?\nA. left\nB. right\nPlease answer with a letter.",
    ],
)
def test_options_that_the_question_lists_do_not_stand_twice(tmp_path: Path, question: str) -> None:
    assert good(tmp_path, a_row(q=question)).question == question


def test_a_question_that_lists_other_options_is_a_reject(tmp_path: Path) -> None:
    assert "other options" in bad(tmp_path, a_row(q="Which? A. right B. left")).advice


@pytest.mark.parametrize(
    "gold",
    ["b", "**B**", "(B).", "The answer is B.", "Option B", "right.", "RIGHT", 1.0, "B.right", "<answer>B</answer>"],
)
def test_an_option_is_named_in_more_ways(tmp_path: Path, gold: Any) -> None:
    assert good(tmp_path, a_row(gold=gold)).answer == ChoiceAnswer(letter="B", num_options=2)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (True, TextAnswer(text="yes")),
        (False, TextAnswer(text="no")),
        (Decimal("1.5"), NumberAnswer(value=1.5, unit="m")),
        (float("inf"), None),
        (Decimal("NaN"), None),
    ],
)
def test_a_typed_cell_is_an_answer_or_a_reject(gold: Any, answer: Any) -> None:
    question = "Is it near?" if isinstance(gold, bool) else "How far, in m?"
    if answer is None:
        with pytest.raises(RowError, match="give a text"):
            read_answer(gold, "auto", None, (), 0, "gold", question)
    else:
        assert read_answer(gold, "auto", None, (), 0, "gold", question)[0] == answer


def test_options_whose_letters_are_out_of_order_are_a_reject(tmp_path: Path) -> None:
    assert "in order" in bad(tmp_path, a_row(choices=["B. left", "A. right"], gold="B")).advice


@pytest.mark.parametrize(("gold", "said"), [("True", "yes"), ("False", "no"), ("Nope", "no"), ("Yes", "yes")])
def test_yes_and_no_are_one_word_each_however_they_are_written(tmp_path: Path, gold: str, said: str) -> None:
    assert good(tmp_path, a_row(q="Is it near?", choices=None, gold=gold)).answer == TextAnswer(text=said)


def test_a_letter_with_the_text_of_another_option_is_a_reject(tmp_path: Path) -> None:
    assert "names the options" in bad(tmp_path, a_row(gold="B. left")).advice


TURNS = [{"from": "human", "value": "<image>\nHow many?"}, {"from": "gpt", "value": LOR}]


@pytest.mark.parametrize("turns", [TURNS, json.dumps(TURNS), {"from": ["human", "gpt"], "value": ["How many?", LOR]}])
def test_a_column_may_be_a_path_into_nested_ones(tmp_path: Path, turns: Any) -> None:
    mapping = Columns(question="talk.0.value", answer="talk.-1.value", image="img")
    found = good(tmp_path, {"talk": turns, "img": "a.png"}, columns=mapping)
    assert found.question == "How many?"
    assert found.answer == NumberAnswer(value=3, unit="count")
    assert found.chains == {ReasoningPath.LOR: LOR, ReasoningPath.DIRECT: "<answer>3</answer>"}


def test_a_column_whose_own_name_has_dots_is_found(tmp_path: Path) -> None:
    row = a_row(**{"q.0": "How many?"}, choices=None, gold="3")
    assert good(tmp_path, row, columns=columns(question="q.0")).question == "How many?"


def test_nested_columns_of_a_parquet_file_are_read(tmp_path: Path) -> None:
    a_table(
        tmp_path / "t.parquet", [{"talk": TURNS, "img": ["a.png"], "at": {"fx": 5.0, "fy": 5.0, "cx": 4.0, "cy": 3.0}}]
    )
    mapping = Columns(question="talk.0.value", answer="talk.1.value", image="img.0", camera="at")
    (found,), rejects = split(write(tmp_path, []).replace(file=tmp_path / "t.parquet", columns=mapping), tmp_path)
    assert not rejects
    assert found.camera == Camera(fx_px=5, fy_px=5, cx_px=4, cy_px=3)


def test_the_parts_of_a_message_are_one_question(tmp_path: Path) -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "How many?"}]
    assert good(tmp_path, a_row(q=parts, choices=None, gold="3")).question == "How many?"


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("quest", r"columns.question='quest': there is no such column; did you mean 'q'\? There are: .*q"),
        ("talk.0.valu", r"there is no such column in talk.0; did you mean 'talk.0.value'\? There are: from, value"),
        ("talk.7.value", r"there is no '7' in talk; it holds a list of 2"),
        ("q.0", r"there is no '0' in q; it holds a str"),
    ],
)
def test_a_misspelt_column_is_told_with_what_is_there(tmp_path: Path, column: str, told: str) -> None:
    config = write(tmp_path, [a_row(talk=TURNS)]).replace(columns=columns(question=column))
    with pytest.raises(UnknownColumnError, match=told):
        config.read(ImageStore(tmp_path / "store"))


def test_a_row_whose_path_leads_nowhere_is_a_reject(tmp_path: Path) -> None:
    config = write(tmp_path, [a_row(talk=TURNS), a_row(talk=[], uid=4)])
    _, (reject,) = split(config.replace(columns=columns(answer="talk.1.value", options="")), tmp_path)
    assert (reject.line, reject.field) == (2, "talk.1.value")


def scene(**changes: Any) -> Row:
    return a_row(q="How far is the cup (red point <mask>)?", choices=None, gold="2 m", box=[[1, 2, 5, 6]], **changes)


def boxed(**changes: str) -> Columns:
    return columns(boxes="box", **changes)


def test_a_table_with_boxes_and_centres_reaches_the_path_dtr(tmp_path: Path) -> None:
    row = scene(at=[[0, 0.1, 2]], what=["cup"], K=[[5, 0, 4], [0, 5, 3], [0, 0, 1]], cot="It is at 2.00.", dtr=DTR)
    mapping = boxed(centers="at", names="what", camera="K", chain_lor="cot", chain_dtr="dtr")
    found = good(tmp_path, row, columns=mapping)
    assert found.paths == (ReasoningPath.LOR, ReasoningPath.DTR, ReasoningPath.DIRECT)
    assert found.question == "How far is the cup (red point)?"
    ((region,), answer) = found.regions, found.answer
    assert (region.mark, region.box_xyxy_px, region.center_m, region.name) == ("red", (1, 2, 5, 6), (0, 0.1, 2), "cup")
    assert answer == NumberAnswer(value=2, unit="m")
    assert found.camera == Camera(fx_px=5, fy_px=5, cx_px=4, cy_px=3)
    assert found.chains == {
        ReasoningPath.LOR: "<think>It is at 2.00.</think><answer>2 m</answer>",
        ReasoningPath.DTR: DTR,
        ReasoningPath.DIRECT: "<answer>2 m</answer>",
    }


@pytest.mark.parametrize(
    ("changes", "mapping", "settings"),
    [
        ({}, {}, {}),
        ({"box": [1, 2, 5, 6]}, {}, {}),
        ({"box": "[[1, 2, 5, 6]]"}, {}, {}),
        ({"box": {"red": [1, 2, 5, 6], "blue": None}, "q": "How far is the red point?"}, {}, {}),
        ({"mark": ["red"], "q": "How far is <mask>?"}, {"marks": "mark"}, {}),
        ({"mark": "red point", "q": "How far is the red bbox?"}, {"marks": "mark"}, {}),
        ({"box": [[1, 2, 4, 4]]}, {}, {"box_form": "xywh"}),
        ({"box": [[125, 1000 / 3, 625, 1000]]}, {}, {"box_unit": "thousandths"}),
        ({"box": [[0.125, 1 / 3, 0.625, 1]]}, {}, {"box_unit": "shares"}),
        ({"on": [0]}, {"box_images": "on"}, {}),
    ],
)
def test_boxes_come_in_several_forms(tmp_path: Path, changes: Row, mapping: Row, settings: Row) -> None:
    row = scene() | changes
    (region,) = good(tmp_path, row, columns=boxed(**mapping), **settings).regions
    assert (region.mark, region.image_index) == ("red", 0)
    assert region.box_xyxy_px == pytest.approx((1, 2, 5, 6))


def test_boxes_without_marks_are_regions_by_number(tmp_path: Path) -> None:
    row = scene() | {"q": "Is <mask> nearer than <mask>?", "gold": "no", "box": [[1, 2, 5, 6], [0, 0, 2, 2]]}
    found = good(tmp_path, row, columns=boxed())
    assert found.question == "Is region 1 nearer than region 2?"
    assert [region.mark for region in found.regions] == ["1", "2"]


def test_regions_may_be_as_the_projects_own(tmp_path: Path) -> None:
    region = {"mark": "red", "box_xyxy_px": [1, 2, 5, 6], "center_m": [0, 0.1, 2], "name": "cup", "polygon_px": None}
    found = good(tmp_path, scene(own=[region]), columns=columns(regions="own"))
    assert found.true_centers_m == ((0, 0.1, 2),)
    assert bad(tmp_path, scene(own=[{"mark": "red"}]), columns=columns(regions="own")).field == "own.0.box_xyxy_px"


def test_a_row_without_regions_is_asked_through_the_other_paths(tmp_path: Path) -> None:
    row = scene() | {"q": "How far is the cup?", "box": None}
    assert good(tmp_path, row, columns=boxed()).paths == (ReasoningPath.LOR, ReasoningPath.DIRECT)
    assert bad(tmp_path, row, columns=boxed(), paths=(ReasoningPath.DTR,)).field == "box"


@pytest.mark.parametrize(
    ("changes", "mapping", "field"),
    [
        ({"box": [[1, 2, 5]]}, {}, "box.0"),
        ({"box": [[1, 2, 50, 6]]}, {}, "box.0"),
        ({"box": "boxes.npy"}, {}, "box"),
        ({"box": [[0.1, 0.2, 0.5, 0.6]]}, {}, "box.0"),
        ({"K": [0.8, 1.0, 0.5, 0.5]}, {"camera": "K"}, "K"),
        ({"q": "How far is <mask> from <mask>?"}, {}, "q"),
        ({"q": "How far is the cup?"}, {"marks": "mark"}, "q"),
        ({"mark": ["red", "blue"]}, {"marks": "mark"}, "mark"),
        ({"mark": ["cup"]}, {"marks": "mark"}, "mark"),
        ({"at": [[0, 0.1]]}, {"centers": "at"}, "at"),
        ({"at": [[0, 0.1, "far"]]}, {"centers": "at"}, "at"),
        ({"at": [[0, 0.1, 2], [0, 0, 1]]}, {"centers": "at"}, "at"),
        ({"at": {"blue": [0, 0.1, 2]}}, {"centers": "at"}, "at"),
        ({"on": [1]}, {"box_images": "on"}, "on.0"),
        ({"K": [5, 5]}, {"camera": "K"}, "K"),
        ({"K": [500, 500, 320, 240]}, {"camera": "K"}, "K"),
        ({"cot": "<think>Hm.</think>"}, {"chain_lor": "cot"}, "cot"),
        ({"dtr": "It is at 2.00."}, {"chain_dtr": "dtr"}, "dtr"),
    ],
)
def test_what_does_not_fit_is_named_after_its_column(tmp_path: Path, changes: Row, mapping: Row, field: str) -> None:
    row = scene(mark="red") | changes
    assert bad(tmp_path, row, columns=boxed(**mapping)).field.startswith(field)


def test_columns_that_need_boxes_are_refused_without(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="centers: needs boxes"):
        columns(centers="at")
    with pytest.raises(ValueError, match="regions and boxes"):
        columns(regions="own", boxes="box")


@FEW
@given(data=st.data())
def test_whatever_stands_in_a_row_it_is_a_sample_or_a_reject(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    full = {"at": [[0, 0.1, 2]], "what": ["cup"], "K": [[5, 0, 4], [0, 5, 3], [0, 0, 1]], "cot": "Near.", "dtr": DTR}
    row = scene(mark=["red"], talk=TURNS, **full) | {"choices": ["1 m", "2 m"], "on": [0]}
    spoilt = spoil(row, data.draw)
    mapping = boxed(
        centers="at", names="what", camera="K", chain_lor="cot", chain_dtr="dtr", box_images="on", marks="mark",
        kind="talk.0.from",
    )  # fmt: skip
    root = tmp_path_factory.mktemp("spoilt")
    config = write(root, [row, spoilt | {"uid": spoilt.get("uid", 3) if spoilt.get("uid") != 3 else 4}])
    samples, rejects = split(config.replace(columns=mapping), root)  # which checks every item
    assert samples or rejects
