"""A true answer as text for people: on pages, in pictures and tables."""

from typing import assert_never

from spatial.grammar import decimals
from spatial.places import format_box_2d, format_places
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
)


def answer_text(answer: Answer) -> str:
    """The answer in a few words, as a response writes it if the grammar has a form for it."""
    match answer:
        case ChoiceAnswer():
            return answer.letter
        case NumberAnswer():
            return f"{answer.value:g}" if answer.unit == "count" else f"{answer.value:g} {answer.unit}"
        case TextAnswer():
            return answer.text
        case MotionAnswer():
            return ",".join(f"{key}:{value:g}" for key, value in answer.moves.items())
        case PointAnswer():
            return decimals(*answer.center_m)
        case PlacesAnswer():
            return format_places(answer.centers_m)
        case Box3DAnswer():
            return f"center {decimals(*answer.center_m)} size {decimals(*answer.size_m)} yaw {decimals(answer.yaw_deg)}"
        case Box2DAnswer():
            return format_box_2d(answer.box_xyxy)
    assert_never(answer)
