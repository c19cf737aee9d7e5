"""Whether answers agree with the sample's own 3D centres, within a wide margin.

Only questions with an unambiguous wording are checked: the distance between two marked regions, the depth of one, which
of several is closer to the camera, left or right, above or below.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from corpora.checks.findings import Finding, Tally
from corpora.checks.units import unit_by_ratios
from spatial.sample import (
    Box3DAnswer,
    ChoiceAnswer,
    NumberAnswer,
    PointAnswer,
    SpatialSample,
    TextAnswer,
    Vector3,
)

METRES: Mapping[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001, "km": 1000.0, "ft": 0.3048, "in": 0.0254}
"""Metres per unit of length."""

_OTHER_LENGTH = re.compile(
    r"\b(horizontal\w*|vertical\w*|height|tall|taller|wide|width|long|length|size|radius|gap|closest points?|edges?|"
    r"surfaces?|if|after|moved?|walk\w*)\b",
    re.IGNORECASE,
)
_DISTANCE = re.compile(r"\b(distance|how far|far apart)\b", re.IGNORECASE)
_DEPTH = re.compile(r"\bdepth\b", re.IGNORECASE)
_FAR_AWAY = re.compile(r"\b(how far|distance)\b", re.IGNORECASE)
_CAMERA = re.compile(r"\b(camera|viewer|observer|you|us)\b", re.IGNORECASE)
_CLOSER = re.compile(r"\b(closer|closest|nearer|nearest)\b(?! to the (?!camera|viewer|observer))", re.IGNORECASE)
_FARTHER = re.compile(r"\b(farther|further|farthest|furthest)\b(?! from the (?!camera|viewer|observer))", re.IGNORECASE)
_SIDES = (
    (re.compile(r"\bleft or (?:to the )?right of\b", re.IGNORECASE), 0, ("left", "right")),
    (re.compile(r"\babove or below\b", re.IGNORECASE), 1, ("above", "below")),
)
_ELSEWHERE = re.compile(r"\b(perspective|facing|standing|viewpoint|point of view)\b", re.IGNORECASE)
# "(A) left", "A. left" on a line of its own, or "left (A) or right (B)".
_LETTER_FIRST = re.compile(
    r"(?:^|(?<=[\s?]))(?:\(([A-Z])\)|([A-Z])[.):])\s+(.+?)(?=\s*(?:\([A-Z]\)|\b[A-Z][.):]\s|\n|$))"
)
_LETTER_LAST = re.compile(r"(?:^|[?,:]|\bor\b)\s*([^?,()]+?)\s*\(([A-Z])\)")
_FAR_OFF = ((1.5, 0.3), (3.0, 0.1))
"""Two lengths contradict each other if their ratio and their difference in metres both exceed one of these pairs."""
_CLEAR_M = 0.3
"""Below this difference, it is not certain which of two places is left or right."""


class AnswerCheck:
    """Whether answers to questions about marked regions agree with the regions' centres."""

    def __init__(self) -> None:
        self._contradicts = Tally(
            "answers contradict the sample's own 3D centres", "correct the answer or the centres; look at --show"
        )
        self._ratios: list[float] = []

    def add(self, sample: SpatialSample) -> bool:
        centers_m = mentioned_centers(sample)
        if not centers_m:
            return False
        expected = _expected_m(sample, centers_m)
        if expected and isinstance(sample.answer, NumberAnswer):
            said = sample.answer.value * METRES[sample.answer.unit]
            nearest = min(expected, key=lambda value: abs(value - said))
            if said > 0 and nearest > 0:
                self._ratios.append(nearest / said)
            return self._contradicts.add(sample.sample_id, _are_far_off(nearest, said))
        agrees = _agrees(sample, centers_m)
        return agrees is not None and self._contradicts.add(sample.sample_id, not agrees)

    def findings(self) -> list[Finding]:
        found = self._contradicts.findings()
        if found and (unit := unit_by_ratios(self._ratios)):
            why = f"distances by the centres are those of the answers in {unit}; give the centres in metres"
            return [replace(found[0], remedy=why)]
        if found and (unit := unit_by_ratios([1 / ratio for ratio in self._ratios])):
            why = f"the answers seem to be numbers of {unit}; say so (`answer.unit`), or convert them"
            return [replace(found[0], remedy=why)]
        return found


def mentioned_centers(sample: SpatialSample) -> dict[str, Vector3]:
    """The centres of the regions that the question mentions, by label, in its order; empty unless all are known."""
    question = sample.question.casefold()
    places = {
        region: match.start()
        for region in sample.regions
        if (match := re.search(rf"\b{re.escape(region.label)}\b", question))
    }
    ordered = sorted(places, key=lambda region: places[region])
    if len({region.image_index for region in ordered}) > 1:
        return {}  # the centres of several images have no known common frame
    known = {region.label: region.center_m for region in ordered if region.center_m is not None}
    return known if len(known) == len(ordered) else {}


def options_in(question: str) -> dict[str, str]:
    """The options that a question's own text lists, by letter."""
    last = {letter: text for text, letter in _LETTER_LAST.findall(question)}
    first = {one or other: text for one, other, text in _LETTER_FIRST.findall(question)}
    return first if len(first) > len(last) else last


def _expected_m(sample: SpatialSample, centers_m: Mapping[str, Vector3]) -> list[float]:
    """The lengths that the question may ask for; empty if that is unclear."""
    if not isinstance(sample.answer, NumberAnswer) or sample.answer.unit not in METRES:
        return []
    question, centers = sample.question, list(centers_m.values())
    if _OTHER_LENGTH.search(question):
        return []
    to_camera = _CAMERA.search(question) is not None
    if len(centers) == 2 and _DISTANCE.search(question) and not to_camera:
        return [math.dist(*centers)]
    if len(centers) == 1 and (_DEPTH.search(question) or (to_camera and _FAR_AWAY.search(question))):
        return [abs(centers[0][2]), math.hypot(*centers[0])]
    return []


def _are_far_off(value_m: float, other_m: float) -> bool:
    low, high = sorted((abs(value_m), abs(other_m)))
    return any(high - low > least_m and high > times * low for times, least_m in _FAR_OFF)


def _agrees(sample: SpatialSample, centers_m: Mapping[str, Vector3]) -> bool | None:
    """Whether an answer that names a region, a side or a place agrees with the centres; None: unclear."""
    match sample.answer:
        case PointAnswer(center_m=told_m) | Box3DAnswer(center_m=told_m) if len(centers_m) == 1:
            (center_m,) = centers_m.values()
            return math.dist(told_m, center_m) <= max(_CLEAR_M, math.hypot(*center_m) / 2)
        case ChoiceAnswer(letter=letter):
            said = options_in(sample.question).get(letter, "")
        case TextAnswer(text=said):
            pass
        case _:
            return None
    said = said.strip().rstrip(".").casefold().removeprefix("the ")
    for words, axis, (low, high) in _SIDES if not _ELSEWHERE.search(sample.question) else ():
        if words.search(sample.question) and len(centers_m) == 2 and said in (low, high):
            one, other = (center[axis] for center in centers_m.values())
            return abs(one - other) < _CLEAR_M or (one < other) == (said == low)
    if said not in centers_m or len(centers_m) < 2 or not _CAMERA.search(sample.question):
        return None
    away_m = {label: center[2] for label, center in centers_m.items()}
    others = [value for label, value in away_m.items() if label != said]
    if _CLOSER.search(sample.question) and not _FARTHER.search(sample.question):
        return not (away_m[said] > min(others) and _are_far_off(away_m[said], min(others)))
    if _FARTHER.search(sample.question) and not _CLOSER.search(sample.question):
        return not (away_m[said] < max(others) and _are_far_off(away_m[said], max(others)))
    return None
