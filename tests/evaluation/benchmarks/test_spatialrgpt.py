"""SpatialRGPT-Bench in its layouts: regions, truths in sentences, and scores by rule."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings

from evaluation.benchmarks.question import Question
from evaluation.benchmarks.spatialrgpt import SpatialRgpt
from evaluation.benchmarks.verdicts import read_region, read_yes_or_no
from spatial.sample import NumberAnswer, ReasoningPath, TextAnswer
from tests.evaluation.benchmarks.layouts import (
    JSON_VALUES,
    Row,
    broken,
    load,
    png,
    png_cell,
    score_all,
    write_json,
    write_parquet,
)

VAL = Path("data", "val-00000-of-00001.parquet")
JSON = "SpatialRGPT-Bench_v1.json"
# 8 x 6 px, column by column: 6 outside, 12 inside, 30 outside; written as COCO does, "n0" being 30 and ":" 10.
MASK: Row = {"size": [6, 8], "counts": "6<n0"}


def row(category: str, question: str, answer: str, number: int = 1) -> Row:
    kind = "qualitative" if category.endswith(("_choice", "_predicate")) else "quantitative"
    return {
        "id": f"{kind}_{number}",
        "image_info": {"file_path": "sunrgbd/0.png", "height": 6, "width": 8, "dataset": "SUNRGBD"},
        "text_q": question,
        "conversations": [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}],
        "qa_info": {"type": kind, "category": category},
        "bbox": [[1.0, 0.0, 3.0, 6.0], [-0.5, 2.0, 9.0, 5.0]],
        "rle": None,
    }


DISTANCE = row(
    "distance_data", "How far is Region [0] from Region [1]?", "Region [0] and Region [1] are 2.0 meters apart.", 1
)
CHOICE = row(
    "left_choice", "Which is more to the left, Region [0] or Region [1]?", "Region [1] is more to the left.", 2
)
PREDICATE = row("behind_predicate", "Is Region [0] behind Region [1]?", "No, Region [0] is closer to the viewer.", 3)
CLOCK = row(
    "direction", "If you are at Region [0], where will you find Region [1]?", "Around the 12 o'clock direction.", 4
)
ROWS = (DISTANCE, CHOICE, PREDICATE, CLOCK)


def write(folder: Path, *rows: Row) -> None:
    write_json(folder / JSON, rows)
    (folder / "images" / "sunrgbd").mkdir(parents=True, exist_ok=True)
    (folder / "images" / "sunrgbd" / "0.png").write_bytes(png())


def question_of(folder: Path, given: Row) -> Question:
    write(folder, given)
    (question,), rejects = load(SpatialRgpt(), folder)
    assert rejects == []
    return question


def test_both_layouts_give_the_same_questions(tmp_path: Path) -> None:
    write(tmp_path / "json", *ROWS)
    # The parquet file keeps what is nested as the text of Python literals.
    texts = [
        {key: str(cell) if isinstance(cell, (dict, list)) else cell for key, cell in each.items()}
        | {"image": png_cell()}
        for each in ROWS
    ]
    write_parquet(tmp_path / "parquet" / VAL, texts)
    assert load(SpatialRgpt(), tmp_path / "json") == load(SpatialRgpt(), tmp_path / "parquet")
    questions, rejects = load(SpatialRgpt(), tmp_path / "json")
    assert rejects == []
    assert [question.task for question in questions] == ["direct_distance", "left_right", "behind_front", "direction"]


def test_regions_are_numbered_from_one_and_asked_through_all_paths(tmp_path: Path) -> None:
    sample = question_of(tmp_path, DISTANCE).sample
    assert sample.question == "How far is region 1 from region 2?\nAnswer with a number in metres."
    assert sample.paths == (ReasoningPath.LOR, ReasoningPath.DTR, ReasoningPath.DIRECT)
    assert [region.label for region in sample.regions] == ["region 1", "region 2"]
    # The second box reaches beyond the image of 8 x 6 px.
    assert [region.box_xyxy_px for region in sample.regions] == [(1.0, 0.0, 3.0, 6.0), (0.0, 2.0, 8.0, 5.0)]


def test_masks_are_read_where_there_are_some(tmp_path: Path) -> None:
    sample = question_of(tmp_path, {**DISTANCE, "rle": [MASK, MASK]}).sample
    assert [region.rle_counts for region in sample.regions] == [(6, 12, 30)] * 2


@pytest.mark.parametrize(
    ("category", "sentence", "value"),
    [
        ("width_data", "The width of Region [0] is 1.02 meters.", 1.02),
        ("height_data", "Region [1] is 10.0 inches tall.", 0.254),
        ("distance_data", "11.4 meters", 11.4),
        ("vertical_distance_data", "They are 77.56 centimeters apart.", 0.7756),
        ("horizontal_distance_data", "A distance of 6.91 feet exists between Region [0] and Region [1].", 2.106168),
    ],
)
def test_lengths_are_read_from_sentences_in_metres(tmp_path: Path, category: str, sentence: str, value: float) -> None:
    answer = question_of(tmp_path, row(category, "How much?", sentence)).sample.answer
    assert isinstance(answer, NumberAnswer)
    assert (answer.value, answer.unit) == (pytest.approx(value), "m")


@pytest.mark.parametrize(
    ("sentence", "text"),
    [
        ("Yes, it is.", "yes"),
        ("That is True.", "yes"),
        ("Indeed, Region [0] is wider.", "yes"),
        ("Correct, Region [0] is not as tall as Region [1].", "yes"),
        ("No.", "no"),
        ("That is False.", "no"),
        ("Actually, Region [0] is below Region [1].", "no"),
        ("In fact, Region [0] may be shorter.", "no"),
        ("Incorrect, Region [0] is not wider.", "no"),
        ("Region [0] is not behind Region [1].", "no"),
        ("Notably so.", None),
        ("Both share the same elevation.", None),
        ("", None),
    ],
)
def test_yes_and_no_are_read_from_how_a_sentence_begins(sentence: str, text: str | None) -> None:
    assert read_yes_or_no(sentence) == text


@pytest.mark.parametrize(
    ("sentence", "region"),
    [
        ("Positioned higher is Region [1].", "region 1"),
        ("region 2", "region 2"),
        ("Region 2, and again region 2", "region 2"),
        ("2", "region 2"),
        ("(2).", "region 2"),
        ("region 1 or region 2", None),
        ("regional 12 things", None),
        ("neither", None),
    ],
)
def test_the_only_region_that_is_named_counts(sentence: str, region: str | None) -> None:
    assert read_region(sentence) == region


def test_truths_are_a_region_a_word_and_an_hour(tmp_path: Path) -> None:
    write(tmp_path, CHOICE, PREDICATE, CLOCK)
    questions, _ = load(SpatialRgpt(), tmp_path)
    assert [question.sample.answer for question in questions] == [
        TextAnswer(text="region 2"),
        TextAnswer(text="no"),
        NumberAnswer(value=12.0, unit="oclock"),
    ]
    assert [question.source for question in questions] == ["qualitative", "qualitative", "quantitative"]


@pytest.mark.parametrize(
    ("given", "answer", "score"),
    [
        (DISTANCE, "2.5", 1.0),  # a quarter above
        (DISTANCE, "1.5 m", 1.0),
        (DISTANCE, "250 cm", 1.0),
        (DISTANCE, "region 1 is 2.1 meters from region 2", 1.0),
        (DISTANCE, "2.51", 0.0),
        (DISTANCE, "1.49", 0.0),
        (DISTANCE, "-2", 0.0),
        (DISTANCE, "far", 0.0),
        (DISTANCE, None, 0.0),
        (CLOCK, "11", 1.0),
        (CLOCK, "1 o'clock", 1.0),
        (CLOCK, "around 12 o'clock", 1.0),
        (CLOCK, "2", 0.0),
        (CLOCK, "0", 0.0),  # no hour of a clock
        (CLOCK, "13", 0.0),
        (CLOCK, None, 0.0),
        (CHOICE, "region 2", 1.0),
        (CHOICE, "2", 1.0),
        (CHOICE, "Region 1", 0.0),
        (CHOICE, "region 1 or region 2", 0.0),
        (CHOICE, None, 0.0),
        (PREDICATE, "No", 1.0),
        (PREDICATE, "No, it is in front.", 1.0),
        (PREDICATE, "yes", 0.0),
        (PREDICATE, "perhaps", 0.0),
        (PREDICATE, None, 0.0),
    ],
)
def test_answers_are_marked_by_rule(tmp_path: Path, given: Row, answer: str | None, score: float) -> None:
    assert SpatialRgpt().score(question_of(tmp_path, given), answer).score == score


def test_errors_are_told_beside_the_shares(tmp_path: Path) -> None:
    write(tmp_path, DISTANCE, {**DISTANCE, "id": "b"}, {**DISTANCE, "id": "c"}, CHOICE, CLOCK)
    questions, _ = load(SpatialRgpt(), tmp_path)
    figures = SpatialRgpt().summarise(score_all(SpatialRgpt(), questions, ["2.5", "3", "far", "region 2", "3"]))
    assert figures == pytest.approx(
        {
            "overall": 2 / 5,
            "task/direct_distance": 1 / 3,
            "task/left_right": 1.0,
            "task/direction": 0.0,
            "source/quantitative": 1 / 4,
            "source/qualitative": 1.0,
            "error/direct_distance": (0.25 + 0.5) / 2,
            "error/direction": 3.0,
        }
    )


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (row("width_data", "How wide?", "Region [0] directly supports Region [1]."), "conversations.1"),
        (row("direction", "Where?", "At 13 o'clock."), "conversations.1"),
        (row("left_choice", "Which?", "Neither."), "conversations.1"),
        (row("left_choice", "Which?", "Region [2] is."), "conversations.1"),
        (row("left_predicate", "Is it?", "They are aligned."), "conversations.1"),
        (row("colour_predicate", "Is it?", "Yes."), "qa_info.category"),
        ({**DISTANCE, "bbox": [[9.0, 0.0, 12.0, 5.0]]}, ""),  # no part of it is in the image
        ({**DISTANCE, "bbox": []}, "bbox"),
        ({**DISTANCE, "rle": [MASK]}, "rle"),
        ({**DISTANCE, "rle": [{**MASK, "size": [8, 6]}, MASK]}, "rle.0.size"),
        ({**DISTANCE, "rle": [{**MASK, "counts": "6<"}, MASK]}, "rle.0.counts"),
        ({**DISTANCE, "image_info": {"file_path": "../0.png"}}, "file_path"),
        ({**DISTANCE, "image_info": None}, "file_path"),
    ],
)
def test_a_row_that_cannot_be_used_is_a_named_reject(tmp_path: Path, given: Row, field: str) -> None:
    write(tmp_path, given)
    questions, (reject,) = load(SpatialRgpt(), tmp_path)
    assert questions == []
    assert reject.field == field or not field


@pytest.mark.parametrize("text", ["(" * 5000, "[" * 900, "{'a': 1", "[1] * 10**9", "\0", "1_0"])
def test_a_text_that_is_no_literal_is_a_reject(tmp_path: Path, text: str) -> None:
    write(tmp_path, {**DISTANCE, "bbox": text})
    _, (reject,) = load(SpatialRgpt(), tmp_path)
    assert reject.field == "bbox"


@settings(max_examples=50, deadline=None)
@given(given=broken(DISTANCE | {"rle": [MASK, MASK], "file_path": "sunrgbd/0.png"}, JSON_VALUES))
def test_a_broken_row_is_a_question_or_one_reject(tmp_path_factory: pytest.TempPathFactory, given: Row) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    write(folder, json.loads(json.dumps(given)))
    questions, rejects = load(SpatialRgpt(), folder)
    assert len(questions) + len(rejects) == 1


@settings(max_examples=50, deadline=None)
@given(given=broken({key: str(cell) for key, cell in CHOICE.items()} | {"image": png_cell()}))
def test_a_broken_row_of_a_table_is_a_question_or_one_reject(
    tmp_path_factory: pytest.TempPathFactory, given: Row
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        write_parquet(folder / VAL, [given])
    except pa.ArrowException:
        assume(False)
    questions, rejects = load(SpatialRgpt(), folder)
    assert len(questions) + len(rejects) == 1
