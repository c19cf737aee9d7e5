"""CV-Bench in its layouts."""

from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings

from evaluation.benchmarks.cv import CvBench
from evaluation.benchmarks.question import ScoredAnswer
from spatial.sample import ChoiceAnswer
from tests.evaluation.benchmarks.layouts import Row, broken, load, png, png_cell, score_all, write_parquet

COUNT: Row = {
    "idx": 0,
    "type": "2D",
    "task": "Count",
    "image": png_cell(),
    "question": "How many organs are in the image?",
    "choices": ["3", "2", "1", "0"],
    "answer": "(C)",
    "prompt": "How many organs are in the image? Select from the following choices.\n(A) 3\n(B) 2\n(C) 1\n(D) 0",
    "filename": "img/2D/count/ade20k_10.png",
    "source": "ADE20K",
    "source_dataset": "ADE20K Validation Set",
    "bbox": None,
}
RELATION: Row = {
    **COUNT,
    "idx": 650,
    "task": "Relation",
    "source": "COCO",
    "choices": ["left", "right"],
    "answer": "(B)",
}
DEPTH: Row = {
    **RELATION,
    "idx": 1438,
    "type": "3D",
    "task": "Depth",
    "source": "Omni3D",
    "question": "Which is closer, the sink (highlighted by a red box) or the bottle (highlighted by a blue box)?",
    "bbox": [[1.0, 1.0, 4.0, 4.0], [4.0, 2.0, 7.0, 5.0]],
}
TWO, THREE = "test_2d.parquet", "test_3d.parquet"


def test_both_layouts_give_the_same_questions(tmp_path: Path) -> None:
    tables, lines = tmp_path / "tables", tmp_path / "lines"
    write_parquet(tables / TWO, [COUNT, RELATION])
    write_parquet(tables / THREE, [DEPTH])
    (lines / "img" / "2D" / "count").mkdir(parents=True)
    (lines / "img" / "2D" / "count" / "ade20k_10.png").write_bytes(png())
    rows = [{key: cell for key, cell in row.items() if key != "image"} for row in (COUNT, RELATION, DEPTH)]
    (lines / "test.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    assert load(CvBench(), tables) == load(CvBench(), lines)
    questions, rejects = load(CvBench(), tables)
    assert rejects == []
    assert [question.sample.sample_id for question in questions] == ["cv-2D-0", "cv-2D-650", "cv-3D-1438"]
    assert questions[0].sample.answer == ChoiceAnswer(letter="C", num_options=4)
    assert "\nC. 1\n" in questions[0].sample.question


def test_the_whole_is_the_mean_of_two_halves_and_2d_that_of_its_sources(tmp_path: Path) -> None:
    # One of two right on ADE20K, one of one on COCO, one of four on Omni3D.
    write_parquet(tmp_path / TWO, [COUNT, {**COUNT, "idx": 1}, RELATION])
    write_parquet(tmp_path / THREE, [{**DEPTH, "idx": idx} for idx in range(4)])
    questions, _ = load(CvBench(), tmp_path)
    figures = CvBench().summarise(score_all(CvBench(), questions, ["C", "(A)", "B", "B", "A", "A", None]))
    assert figures == pytest.approx(
        {
            "overall": 0.5 * ((0.5 + 1.0) / 2 + 0.25),
            "2D": 0.75,
            "3D": 0.25,
            "source/ADE20K": 0.5,
            "source/COCO": 1.0,
            "source/Omni3D": 0.25,
            "task/Count": 0.5,
            "task/Relation": 1.0,
            "task/Depth": 0.25,
        }
    )


def test_of_sources_without_a_question_the_others_are_the_mean(tmp_path: Path) -> None:
    write_parquet(tmp_path / TWO, [RELATION])
    (question,), _ = load(CvBench(), tmp_path)
    assert CvBench().summarise([ScoredAnswer(question, "B", 1.0)])["overall"] == 1.0
    assert CvBench().summarise([]) == {}


@pytest.mark.parametrize(
    ("cell", "value", "field"),
    [
        ("answer", "(E)", "answer"),
        ("answer", "1", "answer"),
        ("choices", ["3"], "options"),
        ("choices", ["3", "2", "2", "0"], "options"),
        ("source", "KITTI", "source"),
        ("type", "4D", "type"),
        ("image", png_cell() | {"bytes": png()[:40]}, "image"),
    ],
)
def test_a_row_that_contradicts_itself_is_a_named_reject(tmp_path: Path, cell: str, value: object, field: str) -> None:
    write_parquet(tmp_path / TWO, [{**COUNT, cell: value}, COUNT])
    questions, (reject,) = load(CvBench(), tmp_path)
    assert len(questions) == 1
    assert (reject.line, reject.field) == (1, field)


@settings(max_examples=50, deadline=None)
@given(row=broken(DEPTH))
def test_a_broken_row_is_a_question_or_one_reject(tmp_path_factory: pytest.TempPathFactory, row: Row) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        write_parquet(folder / THREE, [row])
    except pa.ArrowException:
        assume(False)
    questions, rejects = load(CvBench(), folder)
    assert len(questions) + len(rejects) == 1
