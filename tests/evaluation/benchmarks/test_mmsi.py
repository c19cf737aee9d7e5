"""MMSI-Bench in its layout."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings

from evaluation.benchmarks.mmsi import Mmsi
from spatial.sample import ChoiceAnswer
from tests.evaluation.benchmarks.layouts import Row, broken, load, png, score_all, write_parquet

ROW: Row = {
    "id": 7,
    "images": [png(1), png(2)],
    "question_type": "Positional Relationship (Cam.–Obj.)",
    "question": (
        "The images are taken one after the other. Where is the sofa?\n"
        "Options: A: in front of: the door, B: behind you, C: left, D: right"
    ),
    "answer": "C",
    "thought": "The sofa is on the left.",
    "mean_normed_duration_seconds": 12.5,
    "difficulty": "easy",
}


def test_a_row_becomes_a_question_with_the_options_in_its_own_text(tmp_path: Path) -> None:
    write_parquet(tmp_path / "MMSI_Bench.parquet", [ROW])
    (question,), rejects = load(Mmsi(), tmp_path)
    assert rejects == []
    assert question.sample.answer == ChoiceAnswer(letter="C", num_options=4)
    assert question.sample.question == f"{ROW['question']}\nAnswer with the letter of the right option."
    assert len(question.sample.images) == 2
    assert question.sample.sample_id == "mmsi-7"


def test_shares_are_over_all_questions_and_by_type(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "id": 8, "question_type": "MSR"}, {**ROW, "id": 9, "question_type": "MSR"}]
    write_parquet(tmp_path / "MMSI_Bench.parquet", rows)
    questions, _ = load(Mmsi(), tmp_path)
    figures = Mmsi().summarise(score_all(Mmsi(), questions, ["C", "`C`", "D"]))
    assert figures == {"overall": 2 / 3, "task/Positional Relationship (Cam.–Obj.)": 1.0, "task/MSR": 0.5}


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("answer", "E"),
        ("answer", "AB"),
        ("answer", ""),
        ("question", "Where is the sofa?"),
        ("question", "Where is the sofa? Options: B: right, A: left"),
        ("images", [png()[:30]]),
        ("images", []),
    ],
)
def test_a_row_that_contradicts_itself_is_a_named_reject(tmp_path: Path, cell: str, value: object) -> None:
    write_parquet(tmp_path / "MMSI_Bench.parquet", [{**ROW, cell: value}])
    questions, (reject,) = load(Mmsi(), tmp_path)
    assert questions == []
    assert reject.field.partition(".")[0] == cell


@settings(max_examples=50, deadline=None)
@given(row=broken(ROW))
def test_a_broken_row_is_a_question_or_one_reject(tmp_path_factory: pytest.TempPathFactory, row: Row) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        write_parquet(folder / "MMSI_Bench.parquet", [row])
    except pa.ArrowException:
        assume(False)
    questions, rejects = load(Mmsi(), folder)
    assert len(questions) + len(rejects) == 1
