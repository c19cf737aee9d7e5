"""RealWorldQA (xAI): 765 questions about photographs, many from cars; options, or a word or number."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from corpora.rows import Raw
from corpora.texts.answers import num_options_in
from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.choices import ASKED_THROUGH, choice_question, lettered, score_choice
from evaluation.benchmarks.plain import plain
from evaluation.benchmarks.question import Question, ScoredAnswer
from evaluation.benchmarks.tables import find_files, read_questions, rows_of, store_cell
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import SpatialSample, TextAnswer

# A model that should think first cannot answer with the letter "and nothing else".
_DIRECTLY = "Please answer directly with only the letter of the correct option and nothing else."

_ANSWER_IS = re.compile(r"(?:the )?(?:final |correct )?answer(?:(?: is)?:\s*| is\s+)", re.IGNORECASE)


class _Row(Raw):
    question: str
    """With its options, if any ("A. Yes"), and how to answer."""
    answer: str
    image: Any


class RealWorldQa(Benchmark):
    """Option exact; a word or number exact, ignoring case and a full stop. Tasks: "choice" and "text"."""

    name = "realworldqa"
    title = "RealWorldQA"
    layout = "give the folder that holds data/test-*.parquet (data set xai-org/RealworldQA)"
    data_set = "`xai-org/RealworldQA`"
    answer_rule = "option exact; a word or number exact, whatever its case"
    figures = "mean over questions"

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        for file in find_files(folder, ("data/test-*.parquet",), self.layout):
            yield from read_questions(file, rows_of(file), partial(self._questions, images, file))

    def _questions(self, images: ImageStore, file: Path, number: int, row: Any) -> Iterator[Question]:
        raw = _Row.model_validate(row)
        text = raw.question.replace(_DIRECTLY, "").strip()
        num_options = num_options_in(text)
        is_choice = num_options >= 2
        task = "choice" if is_choice else "text"
        sample = SpatialSample(
            sample_id=f"{self.name}-{file.stem}-{number}",
            domain=self.name,
            kind=task,
            paths=ASKED_THROUGH,
            images=(store_cell(images, raw.image, "image", file.parent),),
            question=choice_question(text) if is_choice else text,
            answer=lettered(raw.answer, num_options) if is_choice else TextAnswer(text=_bare(raw.answer)),
        )
        yield Question(sample, task=task)

    def score(self, question: Question, answer: str | None) -> ScoredAnswer:
        truth = question.sample.answer
        if isinstance(truth, TextAnswer):
            return ScoredAnswer(question, answer, score=float(answer is not None and _bare(answer) == truth.text))
        return score_choice(question, answer)


def _bare(text: str) -> str:
    """A word or number without introduction, markup and punctuation ("**Answer:** Yes." is "yes")."""
    return _ANSWER_IS.sub("", plain(text)).strip(" \n\"'").rstrip(".").rstrip().casefold()
