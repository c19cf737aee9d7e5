"""RealWorldQA in its layout."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings

from evaluation.benchmarks.realworldqa import RealWorldQa
from spatial.sample import ChoiceAnswer, TextAnswer
from tests.evaluation.benchmarks.layouts import Row, broken, load, png_cell, score_all, write_parquet

TEST = Path("data", "test-00000-of-00002.parquet")
CHOICE: Row = {
    "image": png_cell(),
    "question": (
        "In which direction is the front wheel of the car facing?\n\nA. Left\nB. Straight\nC. Right\n"
        "Please answer directly with only the letter of the correct option and nothing else."
    ),
    "answer": "B",
}
WORD: Row = {
    **CHOICE,
    "question": "How many cars are there?\nPlease answer directly with a single word or number.",
    "answer": "2",
}


def test_options_become_a_choice_and_the_rest_a_text(tmp_path: Path) -> None:
    write_parquet(tmp_path / TEST, [CHOICE, WORD])
    write_parquet(tmp_path / "data" / "test-00001-of-00002.parquet", [WORD])
    questions, rejects = load(RealWorldQa(), tmp_path)
    assert rejects == []
    choice, word, other = (question.sample for question in questions)
    assert choice.answer == ChoiceAnswer(letter="B", num_options=3)
    assert choice.question.endswith("C. Right\nAnswer with the letter of the right option.")
    assert word.answer == other.answer == TextAnswer(text="2")
    assert word.question == WORD["question"]
    assert len({choice.sample_id, word.sample_id, other.sample_id}) == 3


@pytest.mark.parametrize(
    ("true", "answer", "score"),
    [
        ("2", "2", 1.0),
        ("2", " 2. ", 1.0),
        ("2", "**2**", 1.0),
        ("2", "**Answer:** 2", 1.0),
        ("2", r"\boxed{2}", 1.0),
        ("Yes", "The answer is: Yes.", 1.0),
        ("2", "two", 0.0),
        ("Yes", "yes", 1.0),
        ("Downhill.", "DOWNHILL", 1.0),
        ("Yes", "yes, it is", 0.0),
        ("Yes", None, 0.0),
    ],
)
def test_a_word_is_exact_but_for_case_full_stop_and_what_stands_around_it(
    tmp_path: Path, true: str, answer: str | None, score: float
) -> None:
    write_parquet(tmp_path / TEST, [{**WORD, "answer": true}])
    (question,), _ = load(RealWorldQa(), tmp_path)
    assert RealWorldQa().score(question, answer).score == score


def test_the_whole_is_the_share_over_all_questions(tmp_path: Path) -> None:
    write_parquet(tmp_path / TEST, [CHOICE, CHOICE, WORD])
    questions, _ = load(RealWorldQa(), tmp_path)
    figures = RealWorldQa().summarise(score_all(RealWorldQa(), questions, ["B", "(B)", "3"]))
    assert figures == {"overall": 2 / 3, "task/choice": 1.0, "task/text": 0.0}


@pytest.mark.parametrize(
    ("row", "cell", "value", "field"),
    [
        (CHOICE, "answer", "D", "answer"),
        (CHOICE, "answer", "Straight", "answer"),
        (WORD, "answer", " . ", "text"),
        (WORD, "question", "", "question"),
        (WORD, "image", None, "image"),
    ],
)
def test_a_row_that_contradicts_itself_is_a_named_reject(
    tmp_path: Path, row: Row, cell: str, value: object, field: str
) -> None:
    write_parquet(tmp_path / TEST, [{**row, cell: value}])
    questions, (reject,) = load(RealWorldQa(), tmp_path)
    assert questions == []
    assert reject.field == field


@settings(max_examples=50, deadline=None)
@given(row=broken(CHOICE).filter(bool))
def test_a_broken_row_is_a_question_or_one_reject(tmp_path_factory: pytest.TempPathFactory, row: Row) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        write_parquet(folder / TEST, [row])
    except pa.ArrowException:
        assume(False)
    questions, rejects = load(RealWorldQa(), folder)
    assert len(questions) + len(rejects) == 1
