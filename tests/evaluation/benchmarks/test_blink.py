"""BLINK in its layout, a folder a part."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings

from evaluation.benchmarks.blink import Blink
from spatial.sample import ChoiceAnswer
from tests.evaluation.benchmarks.layouts import Row, broken, load, png_cell, score_all, write_parquet

VAL = "val-00000-of-00001.parquet"
ROW: Row = {
    "idx": "val_Relative_Depth_1",
    "question": "Which point is closer to the camera?",
    "sub_task": "Relative_Depth",
    "image_1": png_cell(1),
    "image_2": None,
    "image_3": None,
    "image_4": None,
    "choices": ["A is closer", "B is closer"],
    "answer": "(B)",
    "prompt": (
        "Two points are circled on the image, labeled by A and B. Which point is closer to the camera?\n"
        "Select from the following choices.\n(A) A is closer\n(B) B is closer"
    ),
    "explanation": "",
}
VIEWS: Row = {
    **ROW,
    "idx": "val_Multi-view_Reasoning_1",
    "sub_task": "Multi-view_Reasoning",
    "image_2": png_cell(2),
    "choices": ["left", "right"],
    "answer": "(A)",
    "prompt": "Is the camera moving left or right?\n(A) left\n(B) right",
}


def write(folder: Path, *rows: Row) -> None:
    for part in {row["sub_task"] for row in rows}:
        write_parquet(folder / str(part) / VAL, [row for row in rows if row["sub_task"] == part])


def test_parts_are_read_with_all_their_images_and_others_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, ROW, VIEWS, {**ROW, "sub_task": "Art_Style"})
    questions, rejects = load(Blink(), tmp_path)
    assert rejects == []
    by_task = {question.task: question.sample for question in questions}
    assert set(by_task) == {"Relative_Depth", "Multi-view_Reasoning"}
    assert [len(by_task[task].images) for task in ("Relative_Depth", "Multi-view_Reasoning")] == [1, 2]
    assert by_task["Relative_Depth"].answer == ChoiceAnswer(letter="B", num_options=2)
    assert by_task["Relative_Depth"].question == f"{ROW['prompt']}\nAnswer with the letter of the right option."


def test_the_parts_are_a_setting(tmp_path: Path) -> None:
    write(tmp_path, ROW, {**ROW, "sub_task": "Art_Style"})
    (question,), _ = load(Blink(parts=("Art_Style",)), tmp_path)
    assert question.task == "Art_Style"


def test_a_folder_without_any_of_the_parts_is_told(tmp_path: Path) -> None:
    write(tmp_path, {**ROW, "sub_task": "Art_Style"})
    with pytest.raises(FileNotFoundError, match="none of the parts Relative_Depth, Spatial_Relation"):
        load(Blink(), tmp_path)


def test_the_whole_is_the_mean_of_the_parts_not_of_the_questions(tmp_path: Path) -> None:
    write(tmp_path, ROW, {**ROW, "idx": "2"}, {**ROW, "idx": "3"}, VIEWS)
    questions, _ = load(Blink(), tmp_path)
    answers = {"Relative_Depth": "A", "Multi-view_Reasoning": "A"}
    figures = Blink().summarise(score_all(Blink(), questions, [answers[question.task] for question in questions]))
    assert figures == {
        "overall": 0.5,
        "over_questions": 0.25,
        "task/Relative_Depth": 0.0,
        "task/Multi-view_Reasoning": 1.0,
    }


@pytest.mark.parametrize(
    ("cell", "value", "field"),
    [
        ("answer", "hidden", "answer"),
        ("answer", "(C)", "answer"),
        ("choices", [], "options"),
        ("image_1", None, "images"),
    ],
)
def test_a_row_that_contradicts_itself_is_a_named_reject(tmp_path: Path, cell: str, value: object, field: str) -> None:
    write(tmp_path, {**ROW, cell: value})
    questions, (reject,) = load(Blink(), tmp_path)
    assert questions == []
    assert reject.field == field


@settings(max_examples=50, deadline=None)
@given(row=broken(ROW))
def test_a_broken_row_is_a_question_or_one_reject(tmp_path_factory: pytest.TempPathFactory, row: Row) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        write_parquet(folder / "Relative_Depth" / VAL, [row])
    except pa.ArrowException:
        assume(False)
    questions, rejects = load(Blink(), folder)
    assert len(questions) + len(rejects) == 1
