"""A benchmark's questions as an exam: what is left out is kept and named, and too much of it stops the evaluation."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.benchmarks.question import Question
from evaluation.benchmarks.registry import BENCHMARKS
from evaluation.exam import Exam, HeldOut, load_exam
from spatial.dataset import BadDataError, Reject
from spatial.images import ImageStore
from tests.evaluation.exams import make_question


class Small(HeldOut):
    """Nine good rows and a bad one."""

    layout = "anything"

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        yield from (make_question(f"q{number}") for number in range(9))
        yield Reject(folder, 10, "answer", "'E'", "it is none of the 4 options")


def load(max_bad_share: float, limit: int | None = None) -> Exam:
    return load_exam(Small(), Path("folder"), ImageStore(Path("images")), max_bad_share, limit)


def test_bad_rows_are_kept_beside_the_questions_up_to_a_bound() -> None:
    exam = load(max_bad_share=0.1)
    assert (len(exam.questions), [reject.line for reject in exam.rejects]) == (9, [10])
    assert len(load(max_bad_share=0.1, limit=3).questions) == 3
    with pytest.raises(BadDataError, match=r"(?s)1 rows are bad, 9 questions are good.*folder:10: answer: 'E'"):
        load(max_bad_share=0.05)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_folder_without_the_files_is_told_what_it_must_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        load_exam(BENCHMARKS[name], tmp_path, ImageStore(tmp_path / "images"), 0.1)
