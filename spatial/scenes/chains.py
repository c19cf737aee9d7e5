"""Chains of thought: the whole true response to a question, written from the scene's own geometry.

Every chain is `<measured facts>, so <conclusion>.` in few words, and its conclusion follows from the numbers as they
are written: it is computed from them, and a question that rounding would turn or tie gets no chain. The words path
(LOR) reads coordinates to 0.1 m; the detecting path (DTR) copies them from its detect block, to 0.01 m. Sizes, heights
and an asked depth have two decimals on both. Steps from one object to another are in tenths, with a word for the sign.
"""

import math

import numpy as np

from spatial.grammar import ANSWER_CLOSE, ANSWER_OPEN, format_detect_block, format_response
from spatial.sample import Answer, ChoiceAnswer, NumberAnswer, ReasoningPath, Vector3
from spatial.scenes.questions import Question, clock_hour, measure, winner

_LABEL = {
    "left_right": "x",
    "leftmost": "x",
    "above_below": "y",
    "closer_to_camera": "z",
    "nearest": "z",
    "depth": "z",
    "larger": "size",
    "height": "height",
}
_FINE_KINDS = ("depth", "larger", "height")
_SUPERLATIVE = {"closer_to_camera": "closer", "larger": "larger", "nearest": "nearest", "leftmost": "leftmost"}
_WORDS = {"x": ("left", "right"), "y": ("up", "down"), "z": ("near", "far")}


def write_chain(question: Question, path: ReasoningPath) -> str | None:
    """The whole true response through `path`, or None when rounding its numbers makes the answer unclear."""
    if path is ReasoningPath.DIRECT:
        return format_response(path, answer=question.answer_text)
    if question.kind in ("count", "exists"):
        think: str | None = f"{', '.join(subject.name for subject in question.subjects)}, so {question.said}."
    elif question.kind in ("distance", "direction"):
        think = _think_in_steps(question, path)
    else:
        think = _think_in_values(question, path)
    if think is None:
        return None
    detect = _detect(question) if path is ReasoningPath.DTR else None
    return format_response(path, think=think, answer=question.answer_text, detect=detect)


def spoil(chain: str, answer: Answer, rng: np.random.Generator) -> str:
    """The same chain with a wrong answer: another option's letter, or a number half as large again (a count: one more).

    Raises:
        ValueError: the answer is neither a choice nor a number.
    """
    match answer:
        case ChoiceAnswer(letter=letter, num_options=num_options):
            others = [chr(ord("A") + index) for index in range(num_options) if chr(ord("A") + index) != letter]
            wrong = others[int(rng.integers(len(others)))]
        case NumberAnswer(value=value, unit="count"):
            wrong = f"{value + 1:.0f}"
        case NumberAnswer(value=value, unit="oclock"):
            wrong = f"{(value + 5) % 12 + 1:.0f} o'clock"
        case NumberAnswer(value=value):
            wrong = f"{1.5 * value:.2f} m"
        case _:
            raise ValueError(f"a {answer.type} answer cannot be spoilt")
    head, _, _ = chain.rpartition(ANSWER_OPEN)
    return f"{head}{ANSWER_OPEN}{wrong}{ANSWER_CLOSE}"


def _detect(question: Question) -> str:
    names = [f"{subject.truth.shape} ({subject.name})" for subject in question.subjects]
    return format_detect_block([subject.truth.center_m for subject in question.subjects], names)


def _think_in_values(question: Question, path: ReasoningPath) -> str | None:
    """`z red cube 1.4, blue sphere 2.0, so red cube (A) is closer.`"""
    kind = question.kind
    decimals = 2 if path is ReasoningPath.DTR or kind in _FINE_KINDS else 1
    # Adding 0.0 turns the -0.0 that rounding leaves into 0.0.
    values = [round(measure(kind, subject.truth), decimals) + 0.0 for subject in question.subjects]
    if len(values) > 1 and _is_tied(kind, values):
        return None
    if kind in _SUPERLATIVE:
        verdict = question.subjects[winner(kind, values)].name
        conclusion = f"{question.said} is {_SUPERLATIVE[kind]}"
    elif kind in ("left_right", "above_below"):
        first, second = ("left", "right") if kind == "left_right" else ("above", "below")
        verdict = first if values[0] < values[1] else second
        conclusion = question.said
    else:
        verdict = conclusion = f"{values[0]:.{decimals}f} m"
    facts = ", ".join(f"{s.name} {v:.{decimals}f}" for s, v in zip(question.subjects, values, strict=True))
    return f"{_LABEL[kind]} {facts}, so {conclusion}." if verdict == question.verdict else None


def _is_tied(kind: str, values: list[float]) -> bool:
    best = values[winner(kind, values)]
    return values.count(best) > 1


def _think_in_steps(question: Question, path: ReasoningPath) -> str | None:
    """`red cube to blue sphere: right 0.3, far 0.2, so 2 o'clock.`

    DTR leaves out the names: the way is from the first box of its detect block to the second.
    """
    one, other = question.subjects
    right, down, far = _steps_dm(one.truth.center_m, other.truth.center_m)
    if question.kind == "direction":
        # A direction that its tenths put within a degree of the border of two hours is not clear.
        verdict = f"{clock_hour(right, far, margin_deg=14.0)} o'clock"
        steps = {"x": right, "z": far}
    else:
        verdict = f"{math.hypot(right, down, far) / 10:.1f} m"
        steps = {"x": right, "y": down, "z": far}
    if verdict != question.verdict:
        return None
    words = ", ".join(f"{_WORDS[axis][step >= 0]} {abs(step) / 10:.1f}" for axis, step in steps.items())
    way = "" if path is ReasoningPath.DTR else f"{one.name} to {other.name}: "
    return f"{way}{words}, so {verdict}."


def _steps_dm(start_m: Vector3, end_m: Vector3) -> tuple[int, int, int]:
    """The way from one centre to another along each axis, in whole tenths of a metre, halves away from 0.

    It starts from the centres as they are written, so that the detecting path can compute it from its own numbers.
    """
    right, down, far = (
        _tenths(_hundredths(end) - _hundredths(start)) for start, end in zip(start_m, end_m, strict=True)
    )
    return right, down, far


def _hundredths(metres: float) -> int:
    """As `f"{metres:.2f}"` rounds it."""
    return round(round(metres, 2) * 100)


def _tenths(hundredths: int) -> int:
    size = (abs(hundredths) + 5) // 10
    return size if hundredths >= 0 else -size
