"""The two ways of wording a chain of thought.

Every chain states measured facts, then the conclusion that follows from the numbers as they are written.

- brief, for procedural scenes and a small model: `z red cube 1.4, blue sphere 2.0, so red cube (A) is closer.`
  The words path (LOR) reads coordinates to 0.1 m; the detecting path (DTR) copies them from its detect block, to
  0.01 m. Sizes and asked depths have two decimals on both. Steps from one object to another are in tenths of a metre.
- full, for annotated images: `Red point: chair, 1.43 m ahead of the camera. Blue point: … 1.43 is less than 2.03, so
  red point (A) is closer.` All numbers have two decimals. The words path says what each region shows; the detecting
  path leaves to its detect block what that has said.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from spatial.questions.margins import Margins
from spatial.questions.measures import DEPTH, Quantity, step_cm
from spatial.questions.question import Subject
from spatial.questions.scene import KnownObject
from spatial.sample import ReasoningPath

VoiceName = Literal["brief", "full"]
Axis = Literal["x", "y", "z"]


class Voice(ABC):
    """How the facts and the conclusion of a chain are worded, and to how many decimals."""

    name: ClassVar[VoiceName]
    step_decimals: ClassVar[int]
    """Decimals of steps from one object to another and of distances, in metres."""
    answers_exactly: ClassVar[bool]
    """Whether a distance is the exact one, rounded, and is asked only if the written steps give the same; else the
    answer is what the written steps give."""

    @abstractmethod
    def decimals(self, quantity: Quantity, path: ReasoningPath) -> int:
        """Decimals of numbers that a chain compares."""

    @abstractmethod
    def step_units(self, one: KnownObject, other: KnownObject) -> tuple[int, int, int]:
        """The way from one centre to the other (right, down, far), in units of the last decimal."""

    @abstractmethod
    def readings(
        self,
        quantity: Quantity,
        subjects: Sequence[Subject],
        values: Sequence[float],
        decimals: int,
        path: ReasoningPath,
    ) -> str:
        """What was measured on each object."""

    @abstractmethod
    def way(self, one: Subject, other: Subject, steps: Mapping[Axis, int], path: ReasoningPath) -> str:
        """The way from one object to the other, by axis in units of the last decimal."""

    @abstractmethod
    def listing(self, subjects: Sequence[Subject]) -> str:
        """All the objects, from left to right."""

    @abstractmethod
    def close(self, facts: str, conclusion: str, sentence: str) -> str:
        """The thought: facts, then the conclusion in short ("left (A)") or in a sentence ("So left (A).")."""


class _Brief(Voice):
    name = "brief"
    step_decimals = 1
    answers_exactly = True
    _WORDS: ClassVar[Mapping[Axis, tuple[str, str]]] = {
        "x": ("left", "right"),
        "y": ("up", "down"),
        "z": ("near", "far"),
    }

    def decimals(self, quantity: Quantity, path: ReasoningPath) -> int:
        return 2 if path is ReasoningPath.DTR or quantity.is_size else 1

    def step_units(self, one: KnownObject, other: KnownObject) -> tuple[int, int, int]:
        # From the centres as they are written, so that the detecting path can compute it from its own numbers.
        right, down, far = (_tenths(hundredths) for hundredths in step_cm(one, other))
        return right, down, far

    def readings(
        self,
        quantity: Quantity,
        subjects: Sequence[Subject],
        values: Sequence[float],
        decimals: int,
        path: ReasoningPath,
    ) -> str:
        readings = (f"{subject.name} {value:.{decimals}f}" for subject, value in zip(subjects, values, strict=True))
        return f"{quantity.label} {', '.join(readings)}"

    def way(self, one: Subject, other: Subject, steps: Mapping[Axis, int], path: ReasoningPath) -> str:
        """`red cube to blue sphere: right 0.3, far 0.2`; DTR leaves out the names, its two boxes have this order."""
        words = ", ".join(f"{self._WORDS[axis][step >= 0]} {abs(step) / 10:.1f}" for axis, step in steps.items())
        return words if path is ReasoningPath.DTR else f"{one.name} to {other.name}: {words}"

    def listing(self, subjects: Sequence[Subject]) -> str:
        return ", ".join(subject.name for subject in subjects)

    def close(self, facts: str, conclusion: str, sentence: str) -> str:
        return f"{facts}, so {conclusion}."


class _Full(Voice):
    name = "full"
    step_decimals = 2
    answers_exactly = False
    _WORDS: ClassVar[Mapping[Axis, tuple[str, str]]] = {
        "x": ("left", "right"),
        "y": ("up", "down"),
        "z": ("towards the camera", "away from the camera"),
    }

    def decimals(self, quantity: Quantity, path: ReasoningPath) -> int:
        return 2

    def step_units(self, one: KnownObject, other: KnownObject) -> tuple[int, int, int]:
        return step_cm(one, other)

    def readings(
        self,
        quantity: Quantity,
        subjects: Sequence[Subject],
        values: Sequence[float],
        decimals: int,
        path: ReasoningPath,
    ) -> str:
        """`z: red point 1.43, blue point 2.03.`, or `Red point: chair, 1.43 m ahead of the camera. Blue point: …`"""
        readings = [(subject, f"{value:.{decimals}f}") for subject, value in zip(subjects, values, strict=True)]
        if path is ReasoningPath.DTR:
            return f"{quantity.name}: {', '.join(f'{subject.name} {number}' for subject, number in readings)}."
        return " ".join(f"{_opening(subject)}, {quantity.phrase.format(number)}." for subject, number in readings)

    def way(self, one: Subject, other: Subject, steps: Mapping[Axis, int], path: ReasoningPath) -> str:
        """`From red point to blue point: 0.71 m right, 1.37 m away from the camera.`"""
        words = ", ".join(f"{abs(step) / 100:.2f} m {self._WORDS[axis][step >= 0]}" for axis, step in steps.items())
        opening = "" if path is ReasoningPath.DTR else f"{_opening(one)}. {_opening(other)}. "
        return f"{opening}From {one.name} to {other.name}: {words}."

    def listing(self, subjects: Sequence[Subject]) -> str:
        """`From left to right: chair 1.43 m ahead of the camera, chair 2.03 m ahead of the camera.`"""
        places = (
            f"{subject.thing.category} {DEPTH.phrase.format(f'{DEPTH.written(subject.thing, 2):.2f}')}"
            for subject in subjects
        )
        return f"From left to right: {', '.join(places)}."

    def close(self, facts: str, conclusion: str, sentence: str) -> str:
        return f"{facts} {sentence}"


BRIEF: Voice = _Brief()
FULL: Voice = _Full()


@dataclass(frozen=True)
class Style:
    """How a program asks: in which voice, and how clear an answer has to be."""

    voice: Voice
    margins: Margins
    compares_extents: bool = False
    """Closer also by the side that faces the camera, larger also by volume. A long bed or a broom needs it; solids
    of similar proportions do not."""


def _opening(subject: Subject) -> str:
    """`Red point: chair`."""
    return f"{subject.name.capitalize()}: {subject.thing.category}"


def _tenths(hundredths: int) -> int:
    """Halves away from 0."""
    size = (abs(hundredths) + 5) // 10
    return size if hundredths >= 0 else -size
