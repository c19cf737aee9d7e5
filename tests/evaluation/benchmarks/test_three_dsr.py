"""3DSRBench: flips and orders, from the file or made here."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.benchmarks.three_dsr import CIRCULAR, PLAIN, ThreeDsr
from spatial.sample import ChoiceAnswer
from tests.evaluation.benchmarks.layouts import Row, broken, load, png_base64, score_all, write_tsv

ROW: Row = {
    "qid": "VIN6MS3J",
    "question": "Which object is higher in the 3D world space, the cat or the shelf?",
    "A": "the cat",
    "B": "the shelf",
    "C": "",
    "D": "",
    "answer": "B",
    "category": "height_higher",
    "image": png_base64(),
    "index": "17",
}
TURNED: Row = {**ROW, "qid": "VIN6MS3J-1", "A": "the shelf", "B": "the cat", "answer": "A"}
FLIP: Row = {**ROW, "qid": "VIN6MS3J-flip", "image": png_base64(1)}
FLIP_TURNED: Row = {**TURNED, "qid": "VIN6MS3J-flip-1", "image": png_base64(1)}
FOUR: Row = {
    **ROW,
    "qid": "QQQQQQQQ",
    "A": "left",
    "B": "right",
    "C": "front",
    "D": "back",
    "answer": "D",
    "category": "multi_object_facing",
}


def test_a_file_with_orders_is_taken_as_it_is(tmp_path: Path) -> None:
    write_tsv(tmp_path / CIRCULAR, [ROW, TURNED, FLIP, FLIP_TURNED])
    questions, rejects = load(ThreeDsr(), tmp_path)
    assert rejects == []
    assert [question.sample.answer.letter for question in questions] == ["B", "A", "B", "A"]
    assert [question.variant for question in questions] == ["order 0", "order 1", "flip order 0", "flip order 1"]
    assert {question.item for question in questions} == {"VIN6MS3J"}
    assert {(question.task, question.source) for question in questions} == {("height_higher", "height")}


def test_a_file_without_orders_gets_them_by_turning_the_options(tmp_path: Path) -> None:
    write_tsv(tmp_path / PLAIN, [ROW, FOUR, {**FOUR, "qid": "QQQQQQQQ-flip"}])
    questions, rejects = load(ThreeDsr(), tmp_path)
    assert rejects == []
    assert len(questions) == 2 + 4 + 4
    assert [question.sample.answer for question in questions[:2]] == [
        ChoiceAnswer(letter="B", num_options=2),
        ChoiceAnswer(letter="A", num_options=2),
    ]
    assert [question.sample.answer.letter for question in questions[2:6]] == ["D", "C", "B", "A"]
    assert "A. right\nB. front\nC. back\nD. left" in questions[3].sample.question
    assert questions[9].variant == "flip order 3"
    assert len({question.sample.sample_id for question in questions}) == 10


def test_the_made_orders_are_those_of_the_file_with_orders(tmp_path: Path) -> None:
    write_tsv(tmp_path / "made" / PLAIN, [ROW, FLIP])
    write_tsv(tmp_path / "given" / CIRCULAR, [ROW, TURNED, FLIP, FLIP_TURNED])
    assert load(ThreeDsr(), tmp_path / "made") == load(ThreeDsr(), tmp_path / "given")


def test_plain_flip_and_circular_count_what_their_names_say(tmp_path: Path) -> None:
    write_tsv(tmp_path / CIRCULAR, [ROW, TURNED, FLIP, FLIP_TURNED])
    questions, _ = load(ThreeDsr(), tmp_path)

    def figures(*answers: str) -> list[float]:
        found = ThreeDsr().summarise(score_all(ThreeDsr(), questions, answers))
        assert found["overall"] == found["circular"] == found["task/height_higher"] == found["source/height"]
        return [found[name] for name in ("plain", "flip", "circular", "flip_circular")]

    assert figures("B", "A", "B", "A") == [1.0, 1.0, 1.0, 1.0]
    assert figures("B", "A", "B", "B") == [0.75, 0.5, 0.5, 0.0]  # the flip's second order is wrong
    assert figures("B", "B", "B", "B") == [0.5, 0.5, 0.0, 0.0]  # always B: one order of each, right with its flip
    assert figures("B", "A", "A", "B") == [0.5, 0.0, 0.5, 0.0]  # the flip is never right


def test_rows_that_contradict_themselves_are_named_rejects(tmp_path: Path) -> None:
    bad = [
        {**ROW, "answer": "C"},
        {**ROW, "category": "colour"},
        {**ROW, "image": "17"},
        {**ROW, "qid": ""},
        {**ROW, "A": "the shelf"},
    ]
    write_tsv(tmp_path / CIRCULAR, [*bad, ROW, ROW])
    questions, rejects = load(ThreeDsr(), tmp_path)
    assert len(questions) == 1
    assert [(reject.line, reject.field) for reject in rejects] == [
        (1, "answer"),
        (2, "category"),
        (3, "image"),
        (4, "qid"),
        (5, "options"),
        (7, "sample_id"),
    ]


@settings(max_examples=50, deadline=None)
@given(row=broken(FOUR, st.text(max_size=20)))
def test_a_broken_row_is_its_questions_or_one_reject(tmp_path_factory: pytest.TempPathFactory, row: Row) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    write_tsv(folder / PLAIN, [{key: str(value).encode(errors="replace").decode() for key, value in row.items()}, ROW])
    questions, rejects = load(ThreeDsr(), folder)
    assert (len(questions), len(rejects)) in ((6, 0), (5, 0), (4, 0), (2, 1))
