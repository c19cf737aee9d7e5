"""Whether a rewritten response may replace the template's.

It must say what the template says: follow the grammar of its path, give the same answer by the reward's judgement and
the same detect block, number for number, and add no measurement in the thought. A number in the thought passes if

- it occurs in the template's response or in the question, with or without its sign, since prose puts the sign into a
  word ("0.71 m to the left");
- or it is a bare whole number from 1 to the number of objects ("first, of the 2 objects …");

but a coordinate with its axis ("x = -0.71", "z is 1.43") must be that coordinate of some object, with its sign; three
numbers in brackets must be the centre of an object; and lengths must be in metres. The last option that the thought
names by its letter ("(A)") must be the answer. The thought must not contain "<", which may begin a special token.
Numbers in words ("two metres") are not checked, and neither is which object a number is attributed to.
"""

import re
from typing import Literal

from rewards.accuracy import accuracy_score
from spatial.grammar import ParsedResponse, parse_response
from spatial.sample import ChoiceAnswer, NumberAnswer, ReasoningPath, SpatialSample

Fault = Literal["grammar", "answer", "detect", "length", "number", "option"]

_NUM = r"[-−–+]?[0-9]+(?:\.[0-9]+)?"
_NUMBER = re.compile(rf"(?<![0-9.])(?:{_NUM})(?:[eE][-+]?[0-9]+|[.,][0-9]+)*")
_DIMENSION = re.compile(r"(?<![0-9.,])[23]-?[dD]\b")
_AXIS = re.compile(rf"\b([xyzXYZ])\b(?:[\s:=]|-?coordinate|-?value|of|is|at)*({_NUM})")
_TRIPLE = re.compile(rf"[(\[\"]\s*({_NUM})\s*,\s*({_NUM})\s*,\s*({_NUM})\s*[)\]\"]")
_OTHER_LENGTH = re.compile(
    rf"{_NUM}\s*(?:cm|mm|km|ft|feet|foot|inch(?:es)?|yards?|(?:centi|milli|kilo)met(?:er|re)s?)\b", re.IGNORECASE
)
_OPTION = re.compile(r"\(([A-Z])\)")
_ROUNDING = 1e-9


def find_fault(text: str, path: ReasoningPath, sample: SpatialSample, min_words: int, max_words: int) -> Fault | None:
    """The first fault of `text` as another wording of the sample's chain of `path`; None: it may replace the chain."""
    true, found = parse_response(path, sample.chains[path]), parse_response(path, text)
    if not found.well_formed or found.think is None or "<" in found.think:
        return "grammar"
    if accuracy_score(found.answer, sample.answer) < 1.0 - _ROUNDING:
        return "answer"
    if (found.boxes, found.reference_frame) != (true.boxes, true.reference_frame):
        return "detect"
    if not min_words <= len(found.think.split()) <= max_words:
        return "length"
    if not _has_true_numbers(found.think, sample, true):
        return "number"
    letters = _OPTION.findall(found.think)
    if letters and isinstance(sample.answer, ChoiceAnswer) and letters[-1] != sample.answer.letter:
        return "option"
    return None


def _has_true_numbers(think: str, sample: SpatialSample, true: ParsedResponse) -> bool:
    if any(sign.isnumeric() and not sign.isascii() for sign in think) or _OTHER_LENGTH.search(think):
        return False
    known = {abs(coordinate) for box in true.boxes for coordinate in box.center_m}
    for text in (true.think or "", true.answer or "", sample.question):
        known |= {abs(value) for value in map(_value, _NUMBER.findall(text)) if value is not None}
    num_objects = len(sample.regions)
    if isinstance(sample.answer, NumberAnswer) and sample.answer.unit == "count":
        num_objects = int(sample.answer.value)
    known |= {float(number) for number in range(1, num_objects + 1)}
    # Centres, whose numbers have commas between them, are checked as a whole below.
    stated = map(_value, _NUMBER.findall(_DIMENSION.sub(" ", _TRIPLE.sub(" ", think))))
    return all(value is not None and abs(value) in known for value in stated) and _has_true_coordinates(think, sample)


def _has_true_coordinates(think: str, sample: SpatialSample) -> bool:
    """Whether coordinates given by axis or in threes are those of regions, as they are written."""
    centers = {tuple(round(c, 2) + 0.0 for c in center) for center in sample.true_centers_m or ()}
    axes = [{center[i] for center in centers} for i in range(3)]
    by_axis = all(_value(written) in axes["xyz".index(axis.lower())] for axis, written in _AXIS.findall(think))
    return by_axis and all(tuple(map(_value, triple)) in centers for triple in _TRIPLE.findall(think))


def _value(written: str) -> float | None:
    """The number, or None if it is not written in a common way ("1,43", "1.4.3")."""
    try:
        return float(re.sub("[−–]", "-", written)) + 0.0
    except ValueError:
        return None
