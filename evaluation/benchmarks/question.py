"""What a benchmark is: questions from a folder, a rule for one answer, and a rule for the whole.

Example (CV-Bench): a question about depth from Omni3D has `task="Depth"`, `source="Omni3D"`; its answer `"B"` scores 1
or 0; the whole is ½·((ADE20K + COCO)/2 + Omni3D).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import SpatialSample


@dataclass(frozen=True)
class Question:
    """One question of a benchmark, as it is asked."""

    sample: SpatialSample
    """`kind` is the task, `domain` the benchmark's name."""
    task: str
    """The benchmark's own name of what is asked ("obj_spatial_relation_oo")."""
    source: str = ""
    """The part of the benchmark that averages tell apart ("ADE20K"); empty: there is one."""
    item: str = ""
    """Questions that count together carry the same (orders of options, a flipped image); empty: the sample's id."""
    variant: str = ""
    """Which of these it is ("flip", "order 2")."""
    truth: Mapping[str, object] | None = None
    """What the rule needs beyond the sample's answer."""


@dataclass(frozen=True)
class ScoredAnswer:
    """One answer to a question and what it is worth."""

    question: Question
    answer: str | None
    """The inside of the response's answer section; None: there was none to read."""
    score: float
    """In [0, 1] by the benchmark's rule; an answer that cannot be read is worth 0."""
    extra: Mapping[str, float] | None = None
    """Other marks of the same answer ("absolute_relative_error")."""


class Benchmark(Protocol):
    """One benchmark. Files are read from a folder of this machine and never fetched."""

    @property
    def name(self) -> str:
        """As users write it on the command line: "spar", "vsi", "cv", …"""
        ...

    @property
    def title(self) -> str:
        """As papers write it."""
        ...

    @property
    def layout(self) -> str:
        """Which files the folder must hold, and where they come from, for a person who has none yet."""
        ...

    def load(self, folder: Path, images: ImageStore) -> Iterator[Question | Reject]: ...

    def score(self, question: Question, answer: str | None) -> ScoredAnswer: ...

    def summarise(self, scored: Sequence[ScoredAnswer]) -> dict[str, float]:
        """All figures that the benchmark reports, shares in [0, 1], the headline as "overall"; tasks as "task/NAME"."""
        ...
