"""Chains of thought by template: the whole true response to a question, from its numbers as they are written.

The words path (LOR) says of each region what it shows, and its measurement in words. The detecting path (DTR) reads the
same off its detect block, or says it where a centre does not tell it (sizes). Both end in the same comparison.
"""

import math

from corpora.builder.questions import SIDES, Question, Subject, measure, steps_cm
from spatial.grammar import format_detect_block, format_response
from spatial.sample import ReasoningPath

_QUANTITY = {
    "left_right": "x",
    "above_below": "y",
    "closer_to_camera": "z",
    "nearest": "z",
    "depth": "z",
    "larger": "longest side",
    "height": "height",
    "width": "width",
}
"""What the detecting path calls the number."""
_LOR_PHRASE = {
    "left_right": "{:.2f} m along x, which counts to the right",
    "above_below": "{:.2f} m along y, which counts downwards",
    "closer_to_camera": "{:.2f} m ahead of the camera",
    "nearest": "{:.2f} m ahead of the camera",
    "depth": "{:.2f} m ahead of the camera",
    "larger": "{:.2f} m along its longest side",
    "height": "{:.2f} m high",
    "width": "{:.2f} m across",
}
_SUPERLATIVE = {"closer_to_camera": "closer", "nearest": "nearest", "larger": "larger"}
_WORDS = {"x": ("left", "right"), "y": ("up", "down"), "z": ("towards the camera", "away from the camera")}


def paths_of(question: Question, paths: tuple[ReasoningPath, ...]) -> tuple[ReasoningPath, ...]:
    """Those of `paths` that the question may be asked through: without a region there is nothing to detect."""
    return tuple(path for path in paths if path is not ReasoningPath.DTR or question.regions)


def write_chain(question: Question, path: ReasoningPath) -> str:
    """The whole true response through a path that reasons."""
    if question.kind == "count":
        think = _think_in_a_list(question)
    elif question.kind in ("distance", "direction"):
        think = _think_in_steps(question, path)
    else:
        think = _think_in_values(question, path)
    detect = None
    if path is ReasoningPath.DTR:
        names = [f"{subject.truth.name} ({subject.label})" for subject in question.subjects]
        detect = format_detect_block([subject.truth.center_m for subject in question.subjects], names)
    return format_response(path, think=think, answer=question.answer_text, detect=detect)


def _think_in_values(question: Question, path: ReasoningPath) -> str:
    """`z: red point 1.43, blue point 2.03. 1.43 is less than 2.03, so red point (A) is closer.`"""
    kind = question.kind
    values = [measure(kind, subject.truth) for subject in question.subjects]
    told = list(zip(question.subjects, values, strict=True))
    if path is ReasoningPath.DTR:
        facts = f"{_QUANTITY[kind]}: {', '.join(f'{subject.label} {value:.2f}' for subject, value in told)}."
    else:
        facts = " ".join(f"{_opening(subject)}, {_LOR_PHRASE[kind].format(value)}." for subject, value in told)
    if len(values) == 1:
        return f"{facts} So {question.said}."
    if kind in SIDES:
        sign = "less" if values[0] < values[1] else "more"
        return f"{facts} {values[0]:.2f} is {sign} than {values[1]:.2f}, so {question.said}."
    best = max(values) if kind == "larger" else min(values)
    others = " and ".join(f"{value:.2f}" for value in values if value != best)
    sign = "more" if kind == "larger" else "less"
    return f"{facts} {best:.2f} is {sign} than {others}, so {question.said} is {_SUPERLATIVE[kind]}."


def _think_in_steps(question: Question, path: ReasoningPath) -> str:
    """`From red point to blue point: 0.71 m right, 1.37 m away from the camera. So 1 o'clock.`"""
    one, other = question.subjects
    right, down, far = steps_cm(one.truth, other.truth)
    steps = {"x": right, "z": far} if question.kind == "direction" else {"x": right, "y": down, "z": far}
    words = ", ".join(f"{abs(step) / 100:.2f} m {_WORDS[axis][step >= 0]}" for axis, step in steps.items())
    opening = "" if path is ReasoningPath.DTR else f"{_opening(one)}. {_opening(other)}. "
    way = f"{opening}From {one.label} to {other.label}: {words}."
    if question.kind == "distance":
        return f"{way} The straight line is {question.said}."
    degrees = round(math.degrees(math.atan2(right, far))) % 360
    return f"{way} That is {degrees} degrees clockwise from straight ahead, so {question.said}."


def _think_in_a_list(question: Question) -> str:
    """`From left to right: a chair 1.43 m ahead of the camera, a chair 2.03 m ahead of the camera. So 2.`"""
    places = [
        f"{subject.truth.name} {_LOR_PHRASE['depth'].format(measure('depth', subject.truth))}"
        for subject in question.subjects
    ]
    return f"From left to right: {', '.join(places)}. So {question.said}."


def _opening(subject: Subject) -> str:
    """`Red point: chair`."""
    return f"{subject.label.capitalize()}: {subject.truth.name}"
