"""SPAR-Bench in its layout: options, numbers, motions, and its two averages."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings

from evaluation.benchmarks.question import Question
from evaluation.benchmarks.spar import LEVELS, Spar, motion_accuracy
from spatial.sample import ChoiceAnswer, MotionAnswer, NumberAnswer
from tests.evaluation.benchmarks.layouts import Row, broken, load, png_cell, score_all, write_parquet

TEST = Path("data", "test-00000-of-00004.parquet")
CHOICE: Row = {
    "id": 7,
    "img_type": "single_view",
    "format_type": "select",
    "task": "obj_spatial_relation_oo",
    "source": "scannet",
    "image": [png_cell(1)],
    "question": (
        "Where is the towel (red bbox) relative to the sink (blue bbox)?\n"
        "A. left, above, closer\nB. left, , closer\nC. right, below, farther\nD. right, , farther\n"
        "Your answer can only include one of options A, B, C or D."
    ),
    "answer": "C",
}
NUMBER: Row = {
    **CHOICE,
    "format_type": "fill",
    "task": "depth_prediction_oo_mv",
    "image": [png_cell(1), png_cell(2)],
    "question": "How deep is the chair (blue point)?",
    "answer": "2.0",
}
MOTION: Row = {
    **NUMBER,
    "task": "view_change_infer",
    "question": "How did it move?",
    "answer": "rotate_up:5,move_right:2",
}


def questions_of(folder: Path, *rows: Row) -> list[Question]:
    write_parquet(folder / TEST, rows)
    questions, rejects = load(Spar(), folder)
    assert rejects == []
    return questions


def test_there_are_twenty_tasks_in_three_levels() -> None:
    assert {level: len(tasks) for level, tasks in LEVELS.items()} == {"low": 8, "middle": 3, "high": 9}


def test_rows_become_a_choice_a_number_of_metres_and_a_motion(tmp_path: Path) -> None:
    choice, number, motion = questions_of(tmp_path, CHOICE, NUMBER, MOTION)
    assert choice.sample.answer == ChoiceAnswer(letter="C", num_options=4)
    assert number.sample.answer == NumberAnswer(value=2.0, unit="m")
    assert motion.sample.answer == MotionAnswer(moves={"rotate_up": 5.0, "move_right": 2.0})
    assert [len(question.sample.images) for question in (choice, number, motion)] == [1, 2, 2]
    assert [question.source for question in (choice, number, motion)] == ["high", "low", "middle"]
    assert number.sample.question.endswith("Answer with a number in metres.")
    assert motion.sample.question == "How did it move?"


def test_the_same_id_in_several_tasks_is_no_repetition(tmp_path: Path) -> None:
    assert len({question.sample.sample_id for question in questions_of(tmp_path, CHOICE, CHOICE, NUMBER)}) == 3


@pytest.mark.parametrize(
    ("answer", "score"),
    [("2.1", 1.0), ("1.5", 0.6), ("150 cm", 0.6), ("about 2.11 m", 0.9), ("3.1", 0.0), ("far", 0.0), (None, 0.0)],
)
def test_a_number_earns_its_mra(tmp_path: Path, answer: str | None, score: float) -> None:
    (question,) = questions_of(tmp_path, NUMBER)
    assert Spar().score(question, answer).score == pytest.approx(score)


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("rotate_up:5,move_right:2", 1.0),
        ("rotate_up:5, move_right:200 cm", 1.0),
        ("rotate_down:-5,move_left:-2", 1.0),  # the same motion
        ("rotate_up:5", 0.8),  # one axis of five is off
        ("rotate_up:5,move_right:3", 0.82),  # an error of a half meets one bound of ten
        ("rotate_down:5,move_right:2", 0.8),
        ("rotate_up:5,move_right:2,move_up:1", 0.8),
        ("it turned", 0.0),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_a_motion_earns_the_mean_mra_of_five_axes(tmp_path: Path, answer: str | None, score: float) -> None:
    (question,) = questions_of(tmp_path, MOTION)
    assert Spar().score(question, answer).score == pytest.approx(score)


def test_standing_still_is_right_on_all_axes_that_do_not_move() -> None:
    assert motion_accuracy({"move_up": 0.0}, {"move_up": 1.0}) == pytest.approx(0.8)


def test_both_averages_are_told_and_levels_are_means_of_tasks(tmp_path: Path) -> None:
    depth = {**NUMBER, "task": "depth_prediction_oc"}
    questions = questions_of(tmp_path, CHOICE, CHOICE, CHOICE, NUMBER, depth, depth, MOTION)
    scored = score_all(Spar(), questions, ["C", "C", "A", "2", "9", "2", "rotate_up:5,move_right:2"])
    figures = Spar().summarise(scored)
    assert figures == pytest.approx(
        {
            "task/obj_spatial_relation_oo": 2 / 3,
            "task/depth_prediction_oo_mv": 1.0,
            "task/depth_prediction_oc": 0.5,
            "task/view_change_infer": 1.0,
            "source/high": 2 / 3,
            "source/low": 0.75,  # over questions it would be 2/3
            "source/middle": 1.0,
            "overall": (2 / 3 + 1.0 + 0.5 + 1.0) / 4,
            "over_questions": 5 / 7,
        }
    )
    assert Spar().summarise([]) == {}


@pytest.mark.parametrize(
    ("row", "cell", "value"),
    [
        (CHOICE, "answer", "E"),
        (CHOICE, "answer", ""),
        (CHOICE, "task", "cooking"),
        (CHOICE, "image", []),
        (CHOICE, "image", [{"bytes": b"no", "path": None}]),
        (NUMBER, "answer", "far"),
        (MOTION, "answer", "5"),
    ],
)
def test_a_row_that_contradicts_itself_is_a_named_reject(tmp_path: Path, row: Row, cell: str, value: object) -> None:
    write_parquet(tmp_path / TEST, [{**row, cell: value}])
    questions, (reject,) = load(Spar(), tmp_path)
    assert questions == []
    assert reject.field.partition(".")[0].removesuffix("s") == cell


def test_a_choice_without_options_is_a_named_reject(tmp_path: Path) -> None:
    write_parquet(tmp_path / TEST, [{**CHOICE, "question": "Where?"}])
    _, (reject,) = load(Spar(), tmp_path)
    assert reject.field == "options"


@settings(max_examples=50, deadline=None)
@given(row=broken(NUMBER))
def test_a_broken_row_is_a_question_or_one_reject(tmp_path_factory: pytest.TempPathFactory, row: Row) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        write_parquet(folder / TEST, [row])
    except pa.ArrowException:
        assume(False)
    questions, rejects = load(Spar(), folder)
    assert len(questions) + len(rejects) == 1
