"""The reward as the released code scores it, with its faults. For comparison only (`RewardConfig.released_code`).

Written from the facts in docs/method.md ("The released rows and reward, as facts", "Rewards"); each difference from the
project's own reward is named where it is. The centre score, and with it the total, can exceed 1.
"""

import math
import re
from collections.abc import Mapping, Sequence

from rewards.accuracy import accuracy_score, number_score
from rewards.center import distance_m, step_score
from rewards.config import CenterStep
from spatial.grammar import ParsedResponse, find_boxes, read_number
from spatial.sample import Answer, ChoiceAnswer, MotionAnswer, NumberAnswer, Region, SpatialSample, Vector3

_DRESS = re.compile(r"\\(?:boxed|text|textbf|mathrm|mathbf)\b|[\s$%{}\\]")
_FRAME = re.compile(r"\breference frame ([0-9]{1,4})\b", re.IGNORECASE)
_MOVE = re.compile(r"(?<!\w)(\w++):([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))")


def released_format_score(parsed: ParsedResponse) -> float:
    """1 if all sections are there, in order, with nothing else. A detect section needs no header line."""
    return float(parsed.is_whole)


def released_accuracy_score(answer: str | None, truth: Answer) -> float:
    """As `accuracy_score`, but letters may have brackets, moves may be anywhere, and a number with a unit scores 0."""
    match truth:
        case _ if answer is None:
            return 0.0
        case ChoiceAnswer():
            return float(_is_letter(answer, truth.letter))
        case MotionAnswer():
            moves = {key: float(value) for key, value in _MOVE.findall(answer)}
            return sum(number_score(moves[key], g) for key, g in truth.moves.items() if key in moves) / len(truth.moves)
        case NumberAnswer():
            # Fault: the text goes straight into a number, so a unit makes it unreadable.
            predicted = read_number(answer)
            return 0.0 if predicted is None else number_score(predicted, truth.value)
        case _:
            return accuracy_score(answer, truth)


def _is_letter(answer: str, letter: str) -> bool:
    """As mathruler's `grade_answer` compares letters: "c", "(C)", "[C]", "$C$" and "\\boxed{C}" are C, and "C." is not.

    That it also solves "2C/2" for C is left out.
    """
    bare = _DRESS.sub("", answer).upper()
    return bare in (letter, f"({letter})", f"[{letter}]")


def released_center_score(detect: str | None, sample: SpatialSample, steps: Sequence[CenterStep]) -> float:
    """The centre score of a detect section's content, 0 or more, not bounded by 1.

    With several images, centres are compared in the frame of the image that the response names, counted from 0, or in
    that of the first image if it names none.
    """
    if detect is None or _asks_about_first_of_several(sample):
        return 0.0
    predicted = _centers_by_name(detect)
    if not predicted:
        return 0.0
    frame = _FRAME.search(detect)
    true_m = {region: _true_center_m(region, int(frame[1]) if frame else 0) for region in sample.regions}
    # An object is found by its mark inside a name, and one name may hold the marks of several.
    distances = (
        _leading_distance_m(center, true)
        for region, true in true_m.items()
        for name, center in predicted.items()
        if true is not None and _is_named(region, name)
    )
    # Fault: divided by the number of predictions, so a missed object costs nothing.
    return math.fsum(step_score(distance, steps) for distance in distances) / len(predicted)


def _asks_about_first_of_several(sample: SpatialSample) -> bool:
    """Fault: such a question scores 0 for detection, whatever the response detects."""
    return len(sample.images) > 1 and "first image" in sample.question.lower()


def _true_center_m(region: Region, frame: int) -> Vector3 | None:
    if not region.centers_by_image_m:
        return region.center_m
    return region.centers_by_image_m[frame] if frame < len(region.centers_by_image_m) else None


def _centers_by_name(detect: str) -> Mapping[str, tuple[float, ...]]:
    """Fault: if a name occurs twice, the last one counts."""
    boxes = ((box.name, _read_any_center(box.center)) for box in find_boxes(detect))
    return {name: center for name, center in boxes if center is not None}


def _is_named(region: Region, name: str) -> bool:
    """Whether a name holds the region's mark: "bin (red point)", "chair (region 2)"; "red bin" does not."""
    mark = rf"region {region.mark}" if region.mark.isdigit() else rf"{region.mark}(?:[ _](?:point|bbox|box)|(?=\)))"
    return re.search(rf"\b{mark}(?![\w])", name, re.IGNORECASE) is not None


def _read_any_center(text: str) -> tuple[float, ...] | None:
    """One to three finite numbers. Fault: fewer than three are accepted."""
    numbers = [read_number(part) for part in text.split(",", maxsplit=3)]
    center = tuple(number for number in numbers if number is not None)
    return center if len(center) == len(numbers) <= 3 else None


def _leading_distance_m(center: Sequence[float], true: Vector3) -> float:
    """The distance over the coordinates that the prediction has."""
    return distance_m(center, true[: len(center)])
