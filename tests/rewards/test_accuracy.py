import math

import pytest

from rewards.accuracy import accuracy_score, is_right, number_score
from spatial.quantities import read_quantity
from spatial.sample import ChoiceAnswer, MotionAnswer, NumberAnswer, TextAnswer, Unit

A = ChoiceAnswer(letter="A", num_options=4)
ONE_METRE = NumberAnswer(value=1.0, unit="m")
MOTION = MotionAnswer(moves={"move_right": 0.4, "rotate_up": 5.0})


# --- choice and text


@pytest.mark.parametrize(("answer", "right"), [("A", True), (" A\n", True), ("B", False), ("Z", False)])
def test_a_choice_is_right_when_it_is_the_letter(answer: str, right: bool) -> None:
    assert accuracy_score(answer, A) == float(right)
    assert is_right(answer, A) == right


@pytest.mark.parametrize("answer", ["", "a", "A.", "(A)", "A B", "AA", "A. red point", "Ａ", "А", "the answer is A"])
def test_a_choice_that_must_be_guessed_at_is_wrong(answer: str) -> None:
    assert accuracy_score(answer, A) == 0.0


@pytest.mark.parametrize(
    ("answer", "right"), [("Red Cube", True), ("  red cube ", True), ("red  cube", False), ("a red cube", False)]
)
def test_a_text_is_compared_without_case_and_outer_white_space(answer: str, right: bool) -> None:
    assert accuracy_score(answer, TextAnswer(text="red cube")) == float(right)
    assert is_right(answer, TextAnswer(text="red cube")) == right


def test_no_answer_section_is_wrong_for_every_type() -> None:
    for truth in (A, ONE_METRE, MOTION, TextAnswer(text="cube")):
        assert accuracy_score(None, truth) == 0.0
        assert not is_right(None, truth)


# --- numbers


@pytest.mark.parametrize(
    ("predicted", "true", "score"),
    [
        (1.0, 1.0, 1.0),
        (1.1, 1.0, 0.8203536),  # exp(-2 * 0.1 / 1.01)
        (0.9, 1.0, 0.8203536),
        (2.0, 1.0, 0.1380419),  # exp(-2 / 1.01)
        (-1.0, 1.0, 0.0190556),  # exp(-4 / 1.01)
        (-1.1, -1.0, 0.8203536),
        (0.01, 0.0, 0.1353353),  # exp(-2 * 0.01 / 0.01)
        (0.0, 0.0, 1.0),
        (3.0, 2.0, 0.3697142),  # exp(-2 / 2.01)
        (1e308, -1e308, 0.0),
    ],
)
def test_a_number_scores_by_its_relative_error(predicted: float, true: float, score: float) -> None:
    assert number_score(predicted, true) == pytest.approx(score, abs=1e-7)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("1.2", 1.2),
        ("1.2 m", 1.2),
        ("1.2m", 1.2),
        ("1.2 Meters", 1.2),
        ("1.2 metre", 1.2),
        ("120 cm", 1.2),
        ("120cm", 1.2),
        ("1200 mm", 1.2),
        ("0.0012 km", 1.2),
        ("1.2e0 m", 1.2),
        ("12E-1m", 1.2),
        ("10 ft", 3.048),
        ("1 foot", 0.3048),
        ("100 inches", 2.54),
        ("12 dm", 1.2),
        ("10 yards", 9.144),
        ("1 mile", 1609.344),
        ("10'", 3.048),
        ('100"', 2.54),
        ("1.2米", 1.2),
        ("120 厘米", 1.2),
        ("-0", 0.0),
    ],
)
def test_a_length_is_converted_to_metres(answer: str, value: float) -> None:
    assert read_quantity(answer, "m") == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "unit", "value"),
    [
        ("1.2 m", "cm", 120.0),
        ("1.2", "cm", 1.2),
        ("1 ft", "in", 12.0),
        ("2 km", "mm", 2e6),
        ("30 deg", "deg", 30.0),
        ("30°", "deg", 30.0),
        ("30 degrees", "deg", 30.0),
        ("2 o'clock", "oclock", 2.0),
        ("2 o’clock", "oclock", 2.0),
        ("2 oclock", "oclock", 2.0),
        ("2 O'Clock", "oclock", 2.0),
        ("2", "oclock", 2.0),
        ("3", "count", 3.0),
    ],
)
def test_an_answer_is_read_in_the_unit_of_the_truth(answer: str, unit: Unit, value: float) -> None:
    assert read_quantity(answer, unit) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("answer", "unit"),
    [
        ("30 deg", "m"),
        ("1.2 m", "deg"),
        ("1 m", "count"),
        ("3 objects", "count"),
        ("2 m", "oclock"),
        ("60 deg", "oclock"),
        ("1.2 parsecs", "m"),
        ("1.2 count", "m"),
        ("3 o'clock", "m"),
        ("3点", "m"),
        ("5'3\"", "m"),
        ("1.2 m²", "m"),
        ("1.2把", "m"),
        ("1,2 m", "m"),
        ("1,200 m", "m"),
        ("5 ft 3 in", "m"),
        ("about 1.2 m", "m"),
        ("1.2 m.", "m"),
        ("1.2 m m", "m"),
        ("1.2 1.2", "m"),
        ("1/2", "m"),
        ("m", "m"),
        ("１.2 m", "m"),
        ("1.2 \u212am", "m"),  # the Kelvin sign, whose lower case is k
        ("1e999 m", "m"),
        ("nan", "m"),
        ("nan m", "m"),
        ("inf", "m"),
        ("", "m"),
    ],
)
def test_what_is_not_one_number_in_a_fitting_unit_is_not_read(answer: str, unit: Unit) -> None:
    assert read_quantity(answer, unit) is None
    assert accuracy_score(answer, NumberAnswer(value=1.2, unit=unit)) == 0.0


def test_an_answer_with_a_unit_scores_as_the_bare_number_does() -> None:
    for answer in ("1.1", "1.1 m", "110 cm"):
        assert accuracy_score(answer, ONE_METRE) == pytest.approx(math.exp(-2 * 0.1 / 1.01))


def test_a_conversion_that_overflows_scores_zero() -> None:
    assert accuracy_score("1e308 km", NumberAnswer(value=1.0, unit="mm")) == 0.0


# --- right or wrong


@pytest.mark.parametrize(
    ("answer", "true", "right"),
    [("1.5", 1.2, True), ("0.9", 1.2, True), ("1.51", 1.2, False), ("0.89", 1.2, False), ("150 cm", 1.2, True)],
)
def test_a_number_is_right_within_a_quarter_of_the_truth(answer: str, true: float, right: bool) -> None:
    assert is_right(answer, NumberAnswer(value=true, unit="m")) == right


def test_a_true_zero_is_met_exactly_or_not() -> None:
    assert is_right("-0", NumberAnswer(value=0.0, unit="m"))
    assert not is_right("0.001", NumberAnswer(value=0.0, unit="m"))


@pytest.mark.parametrize(("answer", "right"), [("4", True), ("4.0", True), ("5", False), ("3", False), ("3.9", False)])
def test_a_count_is_right_only_when_exact(answer: str, right: bool) -> None:
    assert is_right(answer, NumberAnswer(value=4.0, unit="count")) == right


@pytest.mark.parametrize(
    ("answer", "true", "right"),
    [("12", 1.0, True), ("1", 12.0, True), ("0", 12.0, True), ("11", 1.0, False), ("3 o'clock", 2.0, True)],
)
def test_a_clock_hour_is_right_within_one_around_the_clock(answer: str, true: float, right: bool) -> None:
    assert is_right(answer, NumberAnswer(value=true, unit="oclock")) == right


# --- motion


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("move_right:0.4,rotate_up:5", 1.0),
        ("rotate_up: 5 , move_right: 0.4", 1.0),
        ("move_right:40 cm,rotate_up:5 deg", 1.0),
        ("move_right:0.4", 0.5),
        ("move_right:0.4,rotate_up:5,move_down:9", 1.0),
        ("move_left:0.4,rotate_up:5", 0.5),
        ("move_right:0.5,rotate_up:5", (math.exp(-0.2 / 0.41) + 1.0) / 2),
        ("move_right:0.4,rotate_up:nan", 0.0),
        ("move_right:0.4,rotate_up:5 m", 0.0),
        ("move_right:0.4,move_right:0.4,rotate_up:5", 0.0),
        ("move_right:0.4;rotate_up:5", 0.0),
        ("move_right:0.4,", 0.0),
        ("Move_Right:0.4", 0.0),
        ("move_right=0.4", 0.0),
        ("0.4", 0.0),
        ("", 0.0),
    ],
)
def test_a_motion_scores_the_mean_over_the_moves_of_the_truth(answer: str, score: float) -> None:
    assert accuracy_score(answer, MOTION) == pytest.approx(score, abs=1e-12)


def test_a_motion_of_too_many_moves_is_none() -> None:
    moves = ["move_right:0.4", "rotate_up:5", *(f"move_{n}:1" for n in range(62))]
    assert accuracy_score(",".join(moves), MOTION) == 1.0
    assert accuracy_score(",".join([*moves, "move_down:1"]), MOTION) == 0.0


@pytest.mark.parametrize(
    ("answer", "right"),
    [("move_right:0.5,rotate_up:4", True), ("move_right:0.4", False), ("move_right:0.51,rotate_up:5", False)],
)
def test_a_motion_is_right_when_every_move_is(answer: str, right: bool) -> None:
    assert is_right(answer, MOTION) == right
