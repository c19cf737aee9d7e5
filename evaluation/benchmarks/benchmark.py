"""What every benchmark is made of: a rule (one answer's score, the figures of all) and a reader of its files.

A benchmark of single options needs nothing but its name, its files and its rows::

    class Mmsi(Benchmark):
        name = "mmsi"
        title = "MMSI-Bench"
        layout = "give the folder that holds MMSI_Bench.parquet (data set RunsenXu/MMSI-Bench)"
        data_set = "`RunsenXu/MMSI-Bench`"
        figures = "mean over questions; by type"

        def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
            for file in find_files(folder, ("MMSI_Bench.parquet",), self.layout):
                yield from read_questions(file, rows_of(file), partial(self._questions, images, folder))

and overrides `score` or `summarise` where its own script does something else.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

from evaluation.benchmarks.choices import score_choice, shares
from evaluation.benchmarks.question import Question, ScoredAnswer
from spatial.dataset import Reject
from spatial.images import ImageStore


class Rule(ABC):
    """How answers are scored and averaged; it needs no files."""

    name: ClassVar[str]
    """The name on the command line: "spar", "vsi", "cv", …"""
    title: ClassVar[str]
    """The name in papers."""

    def score(self, question: Question, answer: str | None) -> ScoredAnswer:
        """The score of one answer. By default: 1 for the letter of the right option, else 0."""
        return score_choice(question, answer)

    def summarise(self, scored: Sequence[ScoredAnswer]) -> dict[str, float]:
        """All figures of these answers, shares in [0, 1]: "overall" is the headline, tasks are "task/NAME".

        By default: the mean over the questions, over those of each task, and over those of each source.
        """
        return shares(scored)


class Benchmark(Rule):
    """One benchmark. Files are read from a folder of this machine and never fetched."""

    layout: ClassVar[str]
    """Which files the folder must hold, and where they come from; part of the error if they are missing."""
    data_set: ClassVar[str]
    """The data set, in the README's table (Markdown, as the next two)."""
    answer_rule: ClassVar[str] = "option exact"
    """The score of one answer, in the README's table."""
    figures: ClassVar[str]
    """The definition of "overall", and the other figures, in the README's table."""

    @abstractmethod
    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]:
        """The questions of the files in `folder`, and a reject for each row that cannot become one.

        Raises:
            FileNotFoundError: the folder does not hold the files; the message contains `layout`.
        """

    def with_frames(self, num_frames: int) -> Self:
        """The same benchmark with `num_frames` frames per video.

        Raises:
            ValueError: its questions are about images.
        """
        raise ValueError(f"{self.name} asks about images, not videos; leave it out")
