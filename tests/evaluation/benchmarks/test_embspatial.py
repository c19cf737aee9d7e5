"""EmbSpatial-Bench in its two layouts."""

from pathlib import Path

import pytest
from hypothesis import given, settings

from evaluation.benchmarks.embspatial import EmbSpatial
from spatial.sample import ChoiceAnswer
from tests.evaluation.benchmarks.layouts import (
    JSON_VALUES,
    Row,
    broken,
    load,
    png_base64,
    png_cell,
    score_all,
    write_json,
    write_parquet,
)

ROW: Row = {
    "question_id": "mp3d_0",
    "question": "How are lamp and curtain positioned in relation to each other in the image?",
    "relation": "above",
    "answer_options": [
        "The lamp is above the curtain.",
        "The lamp is under the curtain.",
        "The lamp is left of the curtain.",
        "The lamp is right of the curtain.",
    ],
    "answer": 2,
    "data_source": "mp3d",
    "image": png_base64(),
    "objects": {"bbox": [[10, 20, 30, 40]], "name": ["lamp"]},
}


def test_both_layouts_give_the_same_questions(tmp_path: Path) -> None:
    write_json(tmp_path / "json" / "embspatial_bench.json", [ROW])
    write_parquet(tmp_path / "parquet" / "data" / "test-00000-of-00001.parquet", [{**ROW, "image": png_cell()}])
    from_json, from_parquet = (load(EmbSpatial(), tmp_path / layout) for layout in ("json", "parquet"))
    assert from_json == from_parquet
    (question,), rejects = from_json
    assert rejects == []
    assert question.sample.answer == ChoiceAnswer(letter="C", num_options=4)
    assert question.sample.question.splitlines() == [
        "How are lamp and curtain positioned in relation to each other in the image?",
        "A. The lamp is above the curtain.",
        "B. The lamp is under the curtain.",
        "C. The lamp is left of the curtain.",
        "D. The lamp is right of the curtain.",
        "Answer with the letter of the right option.",
    ]
    assert (question.sample.images[0].width_px, question.task, question.source) == (8, "above", "mp3d")


def test_shares_are_by_relation_and_by_source(tmp_path: Path) -> None:
    rows = [
        ROW,
        {**ROW, "question_id": "mp3d_1", "relation": "close"},
        {**ROW, "question_id": "scannet_0", "relation": "close", "data_source": "scannet"},
        {**ROW, "question_id": "scannet_1", "relation": "close", "data_source": "scannet"},
    ]
    write_json(tmp_path / "embspatial_bench.json", rows)
    questions, _ = load(EmbSpatial(), tmp_path)
    figures = EmbSpatial().summarise(score_all(EmbSpatial(), questions, ["C", "C", "C", "A"]))
    assert figures == {
        "overall": 0.75,
        "task/above": 1.0,
        "task/close": 2 / 3,
        "source/mp3d": 1.0,
        "source/scannet": 0.5,
    }


def test_an_answer_past_the_options_and_a_broken_image_are_named_rejects(tmp_path: Path) -> None:
    bad = [
        {**ROW, "question_id": "a", "answer": 4},
        {**ROW, "question_id": "b", "image": "no base64"},
        {**ROW, "question_id": "c", "image": png_base64()[:40]},
        {**ROW, "question_id": "d", "answer_options": ["left", "left "]},
    ]
    write_json(tmp_path / "embspatial_bench.json", [*bad, ROW, ROW])
    questions, rejects = load(EmbSpatial(), tmp_path)
    assert [question.sample.sample_id for question in questions] == ["embspatial-mp3d_0"]
    assert [(reject.line, reject.field) for reject in rejects] == [
        (1, "answer"),
        (2, "image"),
        (3, "image"),
        (4, "options"),
        (6, "sample_id"),
    ]


@settings(max_examples=50, deadline=None)
@given(row=broken(ROW, JSON_VALUES))
def test_a_broken_row_is_a_question_or_one_reject(tmp_path_factory: pytest.TempPathFactory, row: Row) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    write_json(folder / "embspatial_bench.json", [row])
    questions, rejects = load(EmbSpatial(), folder)
    assert len(questions) + len(rejects) == 1
