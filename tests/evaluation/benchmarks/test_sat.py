"""SAT's questions about real images, each in two orders."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings

from evaluation.benchmarks.sat import Sat
from spatial.sample import ChoiceAnswer
from tests.evaluation.benchmarks.layouts import Row, broken, load, png, png_cell, score_all, write_parquet

ROW: Row = {
    "image_bytes": [png(1), png(2)],
    "question": "How did the camera rotate?",
    "answers": ["left", "right"],
    "question_type": "ego_movement",
    "correct_answer": "right",
}


def test_each_question_is_asked_in_both_orders(tmp_path: Path) -> None:
    write_parquet(tmp_path / "SAT_test.parquet", [ROW])
    questions, rejects = load(Sat(), tmp_path)
    assert rejects == []
    stored, reverse = questions
    assert (stored.sample.answer, reverse.sample.answer) == (
        ChoiceAnswer(letter="B", num_options=2),
        ChoiceAnswer(letter="A", num_options=2),
    )
    assert "A. left\nB. right" in stored.sample.question
    assert "A. right\nB. left" in reverse.sample.question
    assert stored.item == reverse.item
    assert [stored.variant, reverse.variant] == ["stored order", "reverse order"]
    assert len(stored.sample.images) == 2


def test_the_second_version_of_the_data_set_gives_the_same(tmp_path: Path) -> None:
    second = {key: value for key, value in ROW.items() if key != "image_bytes"}
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", [{**second, "images": [png_cell(1), png_cell(2)]}])
    questions, _ = load(Sat(), tmp_path)
    assert [question.sample.answer.letter for question in questions] == ["B", "A"]


def test_who_always_says_a_is_right_half_the_time_and_never_in_both_orders(tmp_path: Path) -> None:
    write_parquet(tmp_path / "SAT_test.parquet", [ROW, {**ROW, "question_type": "perspective"}])
    questions, _ = load(Sat(), tmp_path)
    figures = Sat().summarise(score_all(Sat(), questions, ["A"] * 4))
    assert figures["overall"] == 0.5
    assert figures["both_orders"] == 0.0
    figures = Sat().summarise(score_all(Sat(), questions, ["B", "A", "B", "B"]))
    assert figures == {"overall": 0.75, "task/ego_movement": 1.0, "task/perspective": 0.5, "both_orders": 0.5}


def test_a_true_answer_that_is_no_option_is_a_named_reject(tmp_path: Path) -> None:
    write_parquet(tmp_path / "SAT_test.parquet", [{**ROW, "correct_answer": "up"}, ROW])
    questions, rejects = load(Sat(), tmp_path)
    assert len(questions) == 2
    assert [(reject.line, reject.field, reject.value) for reject in rejects] == [(1, "correct_answer", "'up'")]


def test_a_file_that_breaks_off_is_a_reject_and_a_missing_one_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no SAT_test.parquet and no data/test-\*.parquet in it; give the fold"
    ):
        load(Sat(), tmp_path)
    write_parquet(tmp_path / "SAT_test.parquet", [ROW])
    whole = (tmp_path / "SAT_test.parquet").read_bytes()
    (tmp_path / "SAT_test.parquet").write_bytes(whole[: len(whole) // 2])
    questions, rejects = load(Sat(), tmp_path)
    assert questions == []
    assert [reject.line for reject in rejects] == [1]


@settings(max_examples=50, deadline=None)
@given(row=broken(ROW))
def test_a_broken_row_is_its_questions_or_one_reject(tmp_path_factory: pytest.TempPathFactory, row: Row) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        write_parquet(folder / "SAT_test.parquet", [row])
    except pa.ArrowException:
        assume(False)
    questions, rejects = load(Sat(), folder)
    assert (len(questions), len(rejects)) in ((2, 0), (0, 1))
