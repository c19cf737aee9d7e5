"""What a benchmark is: questions from a folder, a rule for one answer, and a rule for the whole.

Example (CV-Bench): a question about depth from Omni3D has `task="Depth"`, `source="Omni3D"`; its answer `"B"` scores 1
or 0; the whole is ½·((ADE20K + COCO)/2 + Omni3D).
"""

from collections.abc import Mapping
from dataclasses import dataclass

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
