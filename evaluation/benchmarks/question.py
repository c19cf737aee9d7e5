"""A question of a benchmark, and an answer to it with its score.

Example (CV-Bench): a question about depth from Omni3D has `task="Depth"`, `source="Omni3D"`; its answer `"B"` scores 1
or 0; "overall" is ½·((ADE20K + COCO)/2 + Omni3D).
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
    """The benchmark's own name of the kind of question ("obj_spatial_relation_oo")."""
    source: str = ""
    """A part of the benchmark with averages of its own ("ADE20K"); empty: there are no parts."""
    item: str = ""
    """The same for questions that count as one (orders of options, a flipped image); empty: it counts alone."""
    variant: str = ""
    """Which question of its item it is ("flip", "order 2")."""


@dataclass(frozen=True)
class ScoredAnswer:
    """One answer to a question, with its score."""

    question: Question
    answer: str | None
    """The inside of the response's answer section; None: there is no such section."""
    score: float
    """In [0, 1], by the benchmark's rule; 0 for an answer that cannot be read."""
    extra: Mapping[str, float] | None = None
    """Other measures of the same answer ("absolute_relative_error")."""
