"""The reward as the released code scores it, faults included. Only for comparison (`RewardConfig.released_code`).

Re-made from the list of faults in method.md, "Rewards"; each is named at its place. What is not listed there is as in
the project's own reward. The centre score, and with it the total, can pass 1.
"""

import math
from collections.abc import Sequence

from rewards.accuracy import accuracy_score, number_score
from rewards.center import distance_m, step_score
from rewards.config import CenterStep
from spatial.grammar import find_boxes, read_number
from spatial.sample import Answer, NumberAnswer, SpatialSample, Vector3


def released_accuracy_score(answer: str | None, truth: Answer) -> float:
    """As `accuracy_score`, but an answer with a unit ("1.2 m") scores 0."""
    if not isinstance(truth, NumberAnswer):
        return accuracy_score(answer, truth)
    # Fault: the text goes straight into a number, so a unit makes it unreadable.
    predicted = None if answer is None else read_number(answer)
    return 0.0 if predicted is None else number_score(predicted, truth.value)


def released_center_score(
    detect: str | None, sample: SpatialSample, true_m: Sequence[Vector3], steps: Sequence[CenterStep]
) -> float:
    """The centre score of a detect section's inside, 0 or above, not bounded by 1."""
    # Fault: a question that speaks of the "first image" scores 0 for detection, whatever was detected.
    if detect is None or "first image" in sample.question.lower():
        return 0.0
    predicted = [center for box in find_boxes(detect) if (center := _read_any_center(box.center)) is not None]
    if not predicted:
        return 0.0
    # Fault: each true centre takes its nearest prediction, taken already or not.
    nearest = (min(_leading_distance_m(center, true) for center in predicted) for true in true_m)
    # Fault: divided by the number of predictions, so a missed object costs nothing.
    return math.fsum(step_score(distance, steps) for distance in nearest) / len(predicted)


def _read_any_center(text: str) -> tuple[float, ...] | None:
    """One to three finite numbers. Fault: fewer than three are accepted."""
    numbers = [read_number(part) for part in text.split(",", maxsplit=3)]
    center = tuple(number for number in numbers if number is not None)
    return center if len(center) == len(numbers) <= 3 else None


def _leading_distance_m(center: Sequence[float], true: Vector3) -> float:
    """The distance over the coordinates that the prediction has."""
    return distance_m(center, true[: len(center)])
