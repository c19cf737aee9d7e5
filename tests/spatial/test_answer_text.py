"""A truth in words, for every type of answer."""

from typing import get_args

import pytest

from spatial.answer_text import answer_text
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

TEXTS: list[tuple[Answer, str]] = [
    (ChoiceAnswer(letter="B", num_options=4), "B"),
    (NumberAnswer(value=1.25, unit="m"), "1.25 m"),
    (NumberAnswer(value=3.0, unit="count"), "3"),
    (TextAnswer(text="red cube"), "red cube"),
    (MotionAnswer(moves={"move_right": 0.4, "rotate_up": 5.0}), "move_right:0.4,rotate_up:5"),
    (PointAnswer(center_m=(0.0, 1.5, 2.25)), "0.00,1.50,2.25"),
    (
        PlacesAnswer(centers_m={"cube": (0.0, 1.0, 2.0), "cone": (1.0, 1.0, 3.0)}),
        "cube 0.00,1.00,2.00; cone 1.00,1.00,3.00",
    ),
    (
        Box3DAnswer(center_m=(0.0, 1.0, 2.0), size_m=(1.0, 2.0, 3.0), yaw_deg=30.0),
        "center 0.00,1.00,2.00 size 1.00,2.00,3.00 yaw 30.00",
    ),
    (Box2DAnswer(box_xyxy=(1, 2, 30, 40)), "[1,2,30,40]"),
]


@pytest.mark.parametrize(("answer", "text"), TEXTS)
def test_an_answer_is_written_in_words(answer: Answer, text: str) -> None:
    assert answer_text(answer) == text


def test_every_type_of_answer_has_its_words() -> None:
    assert {type(answer) for answer, _ in TEXTS} == set(get_args(get_args(Answer)[0]))
