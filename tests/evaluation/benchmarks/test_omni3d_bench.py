"""Omni3D-Bench: counts and texts exact, other numbers by ten strict thresholds."""

from pathlib import Path

import pytest
from hypothesis import given, settings

from evaluation.benchmarks.omni3d_bench import Omni3dBench
from evaluation.benchmarks.question import Question
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

COUNT: Row = {
    "image_index": "91339.246_00000463.jpg",
    "q_index": "0",
    "question": "How many chairs are there?",
    "answer": "4",
    "answer_type": "int",
    "image": png_cell(),
}
NUMBER: Row = {
    **COUNT,
    "q_index": "1",
    "question": "If the table is 2 m wide, how many metres high is the lamp?",
    "answer": "2.0",
    "answer_type": "float",
}
YES: Row = {**COUNT, "q_index": "2", "question": "Is the lamp taller?", "answer": "yes", "answer_type": "str"}
WHICH: Row = {**YES, "q_index": "3", "question": "Which is closer, the sofa or the lamp?", "answer": "lamp"}
TRAIN = Path("data", "train-00000-of-00001.parquet")


def question_of(folder: Path, row: Row) -> Question:
    write_parquet(folder / TRAIN, [row])
    (question,), rejects = load(Omni3dBench(), folder)
    assert rejects == []
    return question


def test_both_layouts_give_the_same_questions(tmp_path: Path) -> None:
    rows = [COUNT, NUMBER, YES, WHICH]
    write_parquet(tmp_path / "parquet" / TRAIN, rows)
    beside = [
        {
            **{key: cell for key, cell in row.items() if key not in ("image", "q_index")},
            "question_index": row["q_index"],
            "image_filename": "0.png",
        }
        for row in rows
    ]
    write_json(tmp_path / "json" / "annotations.json", {"questions": beside})
    (tmp_path / "json" / "images").mkdir()
    (tmp_path / "json" / "images" / "0.png").write_bytes(png())
    from_parquet, from_json = (load(Omni3dBench(), tmp_path / layout) for layout in ("parquet", "json"))
    assert from_parquet == from_json
    questions, rejects = from_parquet
    assert rejects == []
    assert [question.task for question in questions] == ["numeric_count", "numeric_other", "yes_no", "multi_choice"]


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("2.0", 1.0),
        ("2.1", 0.9),  # an error of 0.05 is not below 0.05
        ("2.09", 1.0),
        ("1.5", 0.5),  # an error of 0.25 is below 0.5, 0.45, 0.4, 0.35 and 0.3
        ("3", 0.0),  # an error of 0.5 is not below 0.5
        ("2.98", 0.1),
        ("2.0 m", 0.0),
        ("two", 0.0),
        (None, 0.0),
    ],
)
def test_a_number_earns_a_tenth_for_each_threshold_it_is_strictly_below(
    tmp_path: Path, answer: str | None, score: float
) -> None:
    question = question_of(tmp_path, NUMBER)
    assert Omni3dBench().score(question, answer).score == pytest.approx(score)


def test_a_true_zero_takes_the_absolute_error(tmp_path: Path) -> None:
    question = question_of(tmp_path, {**NUMBER, "answer": "0"})
    assert Omni3dBench().score(question, "0").score == 1.0
    assert Omni3dBench().score(question, "0.25").score == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("row", "answer", "score"),
    [
        (COUNT, "4", 1.0),
        (COUNT, " 4 ", 1.0),
        (COUNT, "5", 0.0),
        (COUNT, "four", 0.0),
        (YES, "Yes", 1.0),
        (YES, "no", 0.0),
        (YES, "yes, it is", 0.0),
        (WHICH, "Lamp", 1.0),
        (WHICH, "the lamp", 0.0),
        (WHICH, None, 0.0),
    ],
)
def test_counts_and_texts_are_exact_whatever_the_case(
    tmp_path: Path, row: Row, answer: str | None, score: float
) -> None:
    assert Omni3dBench().score(question_of(tmp_path, row), answer).score == score


def test_the_whole_is_the_mean_over_questions_not_over_tasks(tmp_path: Path) -> None:
    write_parquet(tmp_path / TRAIN, [COUNT, {**COUNT, "q_index": "9"}, YES, NUMBER])
    questions, _ = load(Omni3dBench(), tmp_path)
    figures = Omni3dBench().summarise(score_all(Omni3dBench(), questions, ["4", "4", "no", "2.1"]))
    assert figures == pytest.approx(
        {"overall": 2.9 / 4, "task/numeric_count": 1.0, "task/yes_no": 0.0, "task/numeric_other": 0.9}
    )


def test_answers_of_another_type_than_said_are_named_rejects(tmp_path: Path) -> None:
    bad = [
        {**COUNT, "q_index": "4", "answer": "4.5"},
        {**NUMBER, "q_index": "5", "answer": "tall"},
        {**YES, "q_index": "6", "answer": " "},
        {**YES, "q_index": "7", "answer_type": "bool"},
    ]
    write_parquet(tmp_path / TRAIN, [*bad, COUNT, COUNT])
    questions, rejects = load(Omni3dBench(), tmp_path)
    assert len(questions) == 1
    assert [(reject.line, reject.field) for reject in rejects] == [
        (1, "answer"),
        (2, "answer"),
        (3, "text"),
        (4, "answer_type"),
        (6, "sample_id"),
    ]


@settings(max_examples=50, deadline=None)
@given(row=broken({**NUMBER, "image": "0.png"}, JSON_VALUES))
def test_a_broken_row_is_a_question_or_one_reject(tmp_path_factory: pytest.TempPathFactory, row: Row) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    write_json(folder / "annotations.json", {"questions": [row]})
    questions, rejects = load(Omni3dBench(), folder)
    assert len(questions) + len(rejects) == 1
