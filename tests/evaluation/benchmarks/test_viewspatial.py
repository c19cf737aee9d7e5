"""ViewSpatial-Bench in its layout."""

from pathlib import Path

import pytest
from hypothesis import given, settings

from evaluation.benchmarks.viewspatial import ViewSpatial
from spatial.sample import ChoiceAnswer
from tests.evaluation.benchmarks.layouts import JSON_VALUES, Row, broken, load, png, score_all, write_json

IMAGE = "scannetv2_val/scene0011_00/original_images/280.jpg"
ROW: Row = {
    "question_type": "Camera perspective - Relative Direction",
    "image_path": [f"ViewSpatial-Bench/{IMAGE}"],
    "question": "Could you tell me the location of the counter in comparison to the refrigerator?",
    "answer": "D. front",
    "choices": "A. right\nB. front-up\nC. back-left\nD. front",
}


def write(folder: Path, rows: list[Row]) -> None:
    write_json(folder / "ViewSpatial-Bench.json", rows)
    (folder / IMAGE).parent.mkdir(parents=True, exist_ok=True)
    (folder / IMAGE).write_bytes(png())


def test_a_row_becomes_a_question(tmp_path: Path) -> None:
    write(tmp_path, [ROW])
    (question,), rejects = load(ViewSpatial(), tmp_path)
    assert rejects == []
    assert question.sample.answer == ChoiceAnswer(letter="D", num_options=4)
    assert "A. right\nB. front-up\nC. back-left\nD. front\n" in question.sample.question
    assert question.task == "Camera perspective - Relative Direction"


def test_shares_are_over_all_questions_and_by_type(tmp_path: Path) -> None:
    person = "Person perspective - Relative Direction"
    write(tmp_path, [ROW, {**ROW, "question_type": person}, {**ROW, "question_type": person}, ROW])
    questions, _ = load(ViewSpatial(), tmp_path)
    figures = ViewSpatial().summarise(score_all(ViewSpatial(), questions, ["D. front", "D", "A", None]))
    assert figures == {"overall": 0.5, "task/Camera perspective - Relative Direction": 0.5, f"task/{person}": 0.5}


def test_a_missing_image_and_choices_out_of_order_are_named_rejects(tmp_path: Path) -> None:
    bad = [
        {**ROW, "image_path": ["ViewSpatial-Bench/val2017/1.jpg"]},
        {**ROW, "image_path": ["../secret.jpg"]},
        {**ROW, "choices": "B. right\nA. front"},
        {**ROW, "answer": "A. front"},
        {**ROW, "image_path": []},
    ]
    write(tmp_path, [*bad, ROW])
    questions, rejects = load(ViewSpatial(), tmp_path)
    assert [question.sample.sample_id for question in questions] == ["viewspatial-6"]
    assert [(reject.line, reject.field) for reject in rejects] == [
        (1, "image_path.0"),
        (2, "image_path.0"),
        (3, "choices"),
        (4, "answer"),
        (5, "images"),
    ]


@settings(max_examples=50, deadline=None)
@given(row=broken(ROW, JSON_VALUES))
def test_a_broken_row_is_a_question_or_one_reject(tmp_path_factory: pytest.TempPathFactory, row: Row) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    write(folder, [row])
    questions, rejects = load(ViewSpatial(), folder)
    assert len(questions) + len(rejects) == 1
