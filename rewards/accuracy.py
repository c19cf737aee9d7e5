"""How correct an answer is, by the type of the true answer (docs/method.md, "Rewards": accuracy).

Answers are compared as they are written in the answer section, without outer white space, and strictly: an answer that
a reader would have to interpret is wrong. A choice is one letter ("A"), not "a", "A.", "(A)" or "A. red point".
"""

import math

from rewards.grounding import (
    BOX_IOU,
    are_right_places,
    box_3d_score,
    intersection_over_union,
    is_near_point,
    is_right_box_3d,
    places_score,
    point_score,
)
from spatial.grammar import read_vector
from spatial.motions import motion_unit, read_motion
from spatial.places import read_box_2d, read_box_3d, read_places
from spatial.quantities import read_quantity
from spatial.sample import (
    Answer,
    Box2DAnswer,
    Box3DAnswer,
    ChoiceAnswer,
    MotionAnswer,
    NumberAnswer,
    PlacesAnswer,
    PointAnswer,
    TextAnswer,
    Unit,
)

RELATIVE_TOLERANCE = 0.25
"""A number counts as right within this share of the truth (SpatialRGPT-Bench)."""

CLOCK_TOLERANCE_H = 1.0
"""A clock direction counts as right within this many hours, around the clock (SpatialRGPT-Bench)."""

# A value that misses a decimal bound only because of binary rounding meets it.
_ROUNDING = 1e-9


def accuracy_score(answer: str | None, truth: Answer) -> float:
    """The accuracy reward in [0, 1] of an answer section's content; 0 if there is no answer section."""
    match truth:
        case _ if answer is None:
            return 0.0
        case NumberAnswer():
            predicted = read_quantity(answer, truth.unit)
            return 0.0 if predicted is None else number_score(predicted, truth.value)
        case MotionAnswer():
            moves = read_motion(answer)
            return sum(number_score(moves[key], g) for key, g in truth.moves.items() if key in moves) / len(truth.moves)
        case PointAnswer():
            return point_score(read_vector(answer), truth.center_m)
        case PlacesAnswer():
            return places_score(read_places(answer), truth)
        case Box3DAnswer():
            return box_3d_score(read_box_3d(answer), truth)
        case Box2DAnswer():
            return intersection_over_union(read_box_2d(answer), truth)
        case ChoiceAnswer() | TextAnswer():
            return float(_is_same_text(answer, truth))


def is_right(answer: str | None, truth: Answer) -> bool:
    """Whether an answer section's content counts as right in an evaluation.

    Letter and text: exact. Count: exact. Clock hour: within 1 around the clock. Other numbers: within 25 % of the
    truth, bounds included. Motion: every move of the truth within 25 %. Places: see `rewards.grounding`.
    """
    match truth:
        case _ if answer is None:
            return False
        case NumberAnswer():
            predicted = read_quantity(answer, truth.unit)
            return predicted is not None and _is_near(predicted, truth.value, truth.unit)
        case MotionAnswer():
            moves = read_motion(answer)
            return all(key in moves and _is_near(moves[key], g, motion_unit(key)) for key, g in truth.moves.items())
        case PointAnswer():
            return is_near_point(read_vector(answer), truth.center_m)
        case PlacesAnswer():
            return are_right_places(read_places(answer), truth)
        case Box3DAnswer():
            return is_right_box_3d(read_box_3d(answer), truth)
        case Box2DAnswer():
            return intersection_over_union(read_box_2d(answer), truth) >= BOX_IOU
        case ChoiceAnswer() | TextAnswer():
            return _is_same_text(answer, truth)


def number_score(predicted: float, true: float) -> float:
    """`exp(-2·|p−g| / (|g| + 0.01))`, p and g in the same unit (docs/method.md, "Rewards")."""
    return math.exp(-2.0 * abs(predicted - true) / (abs(true) + 0.01))


def _is_same_text(answer: str, truth: ChoiceAnswer | TextAnswer) -> bool:
    """A letter must be the very letter; a text may differ in case and outer white space."""
    if isinstance(truth, ChoiceAnswer):
        return answer.strip() == truth.letter
    return answer.strip().casefold() == truth.text.strip().casefold()


def _is_near(predicted: float, true: float, unit: Unit) -> bool:
    if unit == "count":
        return predicted == true
    if unit == "oclock":
        apart_h = abs(predicted - true) % 12.0
        return min(apart_h, 12.0 - apart_h) <= CLOCK_TOLERANCE_H + _ROUNDING
    return abs(predicted - true) <= RELATIVE_TOLERANCE * abs(true) * (1.0 + _ROUNDING)
