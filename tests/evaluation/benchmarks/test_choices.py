"""What multiple-choice benchmarks share: options and their orders."""

import pytest

from corpora.rows import RowError
from evaluation.benchmarks.choices import choice, rotations


def test_each_option_stands_at_each_place_once() -> None:
    assert list(rotations(("left", "right", "front"))) == [
        ("left", "right", "front"),
        ("right", "front", "left"),
        ("front", "left", "right"),
    ]


@pytest.mark.parametrize(
    ("options", "right", "field"),
    [
        (["left"], 0, "options"),
        (["left", "left"], 0, "options"),
        (["a"] * 27, 0, "options"),
        (["a", "b"], -1, "answer"),
    ],
)
def test_options_without_one_right_letter_are_refused(options: list[str], right: int, field: str) -> None:
    with pytest.raises(RowError) as caught:
        choice(options, right)
    assert caught.value.field == field
