"""Kinds that compare objects: which of two sides one is on, and which of several objects is first.

Options stand in the order of the words, left before right, the object named first before the other, so that a letter
follows from a chain's own words. Where a question names no object, they stand in random order.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spatial.questions.kind import ReasonedKind, Together
from spatial.questions.measures import Quantity, X, front_m, mean_depth_m
from spatial.questions.question import Question, Subject
from spatial.questions.scene import KnownObject, KnownScene
from spatial.questions.voices import Style
from spatial.sample import ReasoningPath

if TYPE_CHECKING:
    from numpy.random import Generator

Beats = Callable[[KnownObject, KnownObject, Style], bool]
"""Whether the first object is ahead of the second by a margin."""


def are_sides_apart(one: KnownObject, other: KnownObject, quantity: Quantity, style: Style) -> bool:
    """Whether space and picture order two objects the same way, by a margin in both."""
    share = style.margins.side_share
    metres = quantity.of(other) - quantity.of(one)
    tangents = quantity.of(other) / other.center_m[2] - quantity.of(one) / one.center_m[2]
    return metres * tangents > 0 and abs(metres) >= share * mean_depth_m(one, other) and abs(tangents) >= share


def is_left(one: KnownObject, other: KnownObject, style: Style) -> bool:
    """Whether `one` is farther left, in space and in the picture."""
    return X.of(one) < X.of(other) and are_sides_apart(one, other, X, style)


def is_closer(one: KnownObject, other: KnownObject, style: Style) -> bool:
    """Whether `one` is closer to the camera by its centre, and if extents count, by the side that faces the camera."""
    apart_m = other.center_m[2] - one.center_m[2]
    is_apart = apart_m >= style.margins.depth_share * mean_depth_m(one, other)
    return is_apart and (not style.compares_extents or front_m(one) < front_m(other))


def is_larger(one: KnownObject, other: KnownObject, style: Style) -> bool:
    """Whether `one` is larger by its longest side, and if extents count, by its volume."""
    is_longer = max(one.size_m) >= style.margins.size_ratio * max(other.size_m)
    return is_longer and (not style.compares_extents or math.prod(one.size_m) > math.prod(other.size_m))


@dataclass(frozen=True)
class Side(ReasonedKind):
    """On which of two sides of the second object the first one is."""

    quantity: Quantity
    words: tuple[str, str]
    """The side on which the quantity is smaller, and the other."""

    def has_clear_answer(self, things: tuple[KnownObject, ...], scene: KnownScene, style: Style) -> bool:
        one, other = things
        return are_sides_apart(one, other, self.quantity, style)

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        one, other = (self.quantity.of(subject.thing) for subject in subjects)
        verdict = self.words[0 if one < other else 1]
        return self._choice(subjects, style, self.words, verdict)

    def think(self, question: Question, style: Style, path: ReasoningPath) -> str | None:
        """`x red cube -0.3, blue sphere 0.3, so left (A).`"""
        decimals = style.voice.decimals(self.quantity, path)
        one, other = values = [self.quantity.written(subject.thing, decimals) for subject in question.subjects]
        if one == other or self.words[0 if one < other else 1] != question.verdict:
            return None
        facts = style.voice.readings(self.quantity, question.subjects, values, decimals, path)
        sign = "less" if one < other else "more"
        sentence = f"{one:.{decimals}f} is {sign} than {other:.{decimals}f}, so {question.said}."
        return style.voice.close(facts, question.said, sentence)


@dataclass(frozen=True)
class Superlative(ReasonedKind):
    """Which of the objects has most, or least, of a quantity."""

    quantity: Quantity
    word: str
    """As a chain concludes: "closer"."""
    beats: Beats
    """When the answer is clear: the right object beats each other one."""
    is_most: bool = False
    """Whether the largest value wins, not the smallest."""

    def has_clear_answer(self, things: tuple[KnownObject, ...], scene: KnownScene, style: Style) -> bool:
        best = self._best([self.quantity.of(thing) for thing in things])
        return all(self.beats(things[best], other, style) for i, other in enumerate(things) if i != best)

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        names = [subject.name for subject in subjects]
        verdict = names[self._best([self.quantity.of(subject.thing) for subject in subjects])]
        if isinstance(self.phrasing(style.voice.name).subjects, Together):
            # All objects come from left to right: in that order the leftmost would always be the first option.
            names = [names[i] for i in rng.permutation(len(names))]
        return self._choice(subjects, style, names, verdict)

    def think(self, question: Question, style: Style, path: ReasoningPath) -> str | None:
        """`z red cube 1.4, blue sphere 2.0, so red cube (A) is closer.`"""
        decimals = style.voice.decimals(self.quantity, path)
        values = [self.quantity.written(subject.thing, decimals) for subject in question.subjects]
        best = self._best(values)
        if values.count(values[best]) > 1 or question.subjects[best].name != question.verdict:
            return None
        facts = style.voice.readings(self.quantity, question.subjects, values, decimals, path)
        others = " and ".join(f"{value:.{decimals}f}" for i, value in enumerate(values) if i != best)
        conclusion = f"{question.said} is {self.word}"
        sign = "more" if self.is_most else "less"
        sentence = f"{values[best]:.{decimals}f} is {sign} than {others}, so {conclusion}."
        return style.voice.close(facts, conclusion, sentence)

    def _best(self, values: list[float]) -> int:
        return values.index(max(values) if self.is_most else min(values))
