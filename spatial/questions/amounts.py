"""Kinds that ask for a number: a length of one object, the distance or the direction from one object to another."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spatial.questions.kind import ReasonedKind, RingKind
from spatial.questions.measures import Quantity, clock_hour, mean_depth_m, step_m
from spatial.questions.question import Question, Subject
from spatial.questions.scene import KnownObject, KnownScene
from spatial.questions.voices import Style
from spatial.sample import NumberAnswer, ReasoningPath

if TYPE_CHECKING:
    from numpy.random import Generator

# A direction that the written steps put within a degree of the border of two hours is not clear.
_WRITTEN_HOUR_DEG = 14.0


@dataclass(frozen=True)
class Length(ReasonedKind):
    """How much of a quantity one object has, in metres to two decimals."""

    quantity: Quantity

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        (subject,) = subjects
        length = f"{self.quantity.written(subject.thing, 2):.2f}"
        answer = NumberAnswer(value=float(length), unit="m")
        return self._open_question(subjects, style, answer, f"{length} m")

    def think(self, question: Question, style: Style, path: ReasoningPath) -> str | None:
        """`height red cube 0.20, so 0.20 m.`"""
        thing = question.subjects[0].thing
        value = self.quantity.written(thing, 2)
        if not _is_near(value, self.quantity.of(thing), style):
            return None
        facts = style.voice.readings(self.quantity, question.subjects, [value], 2, path)
        return style.voice.close(facts, question.said, f"So {question.said}.")


@dataclass(frozen=True)
class Distance(ReasonedKind):
    """How far the centres of two objects are from each other."""

    def has_clear_answer(self, things: tuple[KnownObject, ...], scene: KnownScene, style: Style) -> bool:
        one, other = things
        return math.dist(one.center_m, other.center_m) >= style.margins.distance_share * mean_depth_m(one, other)

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        one, other = (subject.thing for subject in subjects)
        metres = (
            math.dist(one.center_m, other.center_m) if style.voice.answers_exactly else _by_steps(one, other, style)
        )
        length = f"{metres:.{style.voice.step_decimals}f}"
        answer = NumberAnswer(value=float(length), unit="m")
        return self._open_question(subjects, style, answer, f"{length} m")

    def think(self, question: Question, style: Style, path: ReasoningPath) -> str | None:
        """`red cube to blue sphere: right 0.6, up 0.3, far 0.5, so 0.8 m.`"""
        one, other = question.subjects
        length = f"{_by_steps(one.thing, other.thing, style):.{style.voice.step_decimals}f}"
        is_near = _is_near(float(length), math.dist(one.thing.center_m, other.thing.center_m), style)
        if f"{length} m" != question.verdict or not is_near:
            return None
        right, down, far = style.voice.step_units(one.thing, other.thing)
        facts = style.voice.way(one, other, {"x": right, "y": down, "z": far}, path)
        return style.voice.close(facts, question.said, f"The straight line is {question.said}.")


@dataclass(frozen=True)
class Direction(RingKind):
    """At which clock hour the second object is, for someone at the first who faces away from the camera."""

    num_on_ring = 12

    def has_clear_answer(self, things: tuple[KnownObject, ...], scene: KnownScene, style: Style) -> bool:
        one, other = things
        right, _, far = step_m(one, other)
        is_far = math.hypot(right, far) >= style.margins.distance_share * mean_depth_m(one, other)
        return is_far and clock_hour(right, far, style.margins.hour_deg) is not None

    def ring_place(self, things: tuple[KnownObject, ...], style: Style) -> int:
        one, other = things
        right, _, far = step_m(one, other)
        hour = clock_hour(right, far, style.margins.hour_deg)
        if hour is None:
            raise ValueError(f"the direction from {one.name} to {other.name} lies between two hours")
        return hour

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        hour = self.ring_place(tuple(subject.thing for subject in subjects), style)
        answer = NumberAnswer(value=float(hour), unit="oclock")
        return self._open_question(subjects, style, answer, f"{hour} o'clock")

    def think(self, question: Question, style: Style, path: ReasoningPath) -> str | None:
        """`red cube to blue sphere: right 0.6, far 0.5, so 2 o'clock.`"""
        one, other = question.subjects
        right, _, far = style.voice.step_units(one.thing, other.thing)
        if f"{clock_hour(right, far, _WRITTEN_HOUR_DEG)} o'clock" != question.verdict:
            return None
        facts = style.voice.way(one, other, {"x": right, "z": far}, path)
        degrees = round(math.degrees(math.atan2(right, far))) % 360
        sentence = f"That is {degrees} degrees clockwise from straight ahead, so {question.said}."
        return style.voice.close(facts, question.said, sentence)


def _by_steps(one: KnownObject, other: KnownObject, style: Style) -> float:
    """The distance that follows from the steps as they are written, metres."""
    return math.hypot(*style.voice.step_units(one, other)) / 10**style.voice.step_decimals


def _is_near(written_m: float, exact_m: float, style: Style) -> bool:
    """Whether rounding has changed a number by no more than the margin."""
    return abs(written_m - exact_m) <= style.margins.rounding_share * exact_m
