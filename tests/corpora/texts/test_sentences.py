"""What sentences state, and that they are not guessed at."""

import pytest

from corpora.texts.sentences import asked_unit, is_sentence, read_one_quantity, read_yes_or_no
from spatial.sample import Unit


@pytest.mark.parametrize(
    ("text", "question", "said"),
    [
        ("Yes.", "Is it?", "yes"),
        ("Yes, it is.", "How deep is it?", "yes"),
        ("Indeed, region 1 is taller.", "Is region 1 taller?", "yes"),
        ("Correct, you'll find region 1 there.", "Can you confirm if region 1 is there?", "yes"),
        ("That is True.", "Is it?", "yes"),
        ("That's correct.", "Is it?", "yes"),
        ("Actually, yes.", "Is it?", "yes"),
        ("It is.", "Is it?", "yes"),
        ("no, it is not", "Is it?", "no"),
        ("Incorrect, region 1's width is smaller.", "Is it?", "no"),
        ("That is False.", "Is it?", "no"),
        ("That is not true.", "Is it?", "no"),
        ("In fact, region 1 might be narrower.", "Can you confirm if region 1 is wider?", "no"),
        ("Actually, region 1 is below region 2.", "Does region 1 appear over region 2?", "no"),
        ("It isn't.", "Is it?", "no"),
        ("Definitely not.", "Is it?", "no"),
        ("Certainly not, region 1 is.", "Is it?", "no"),
        ("In fact, region 1 is.", "Which is taller, region 1 or region 2?", None),
        ("Right", "Left or right?", None),
        ("Right, above, behind.", "Where is it?", None),
        ("No vertical gap exists between them.", "How far apart are they?", None),
        ("Region 1 is not as tall as region 2.", "Is region 1 shorter?", None),
        ("Notably tall.", "Is it?", None),
    ],
)
def test_yes_and_no_are_read_by_how_a_sentence_opens(text: str, question: str, said: str | None) -> None:
    assert read_yes_or_no(text, question) == said


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("Its depth is about 1.5 meters.", "m", 1.5),
        ("The depth is 1.5.", "m", 1.5),
        ("It is 150 cm deep.", "m", 1.5),
        ("It is 150 cm deep.", "cm", 150.0),
        ("1.5 meters (4.92 feet)", "m", 1.5),
        ("4.92 feet, that is 1.5 meters", "m", 1.5),
        ("The chair (object1) in image 2 is 1.5 m away.", "m", 1.5),
        ("The red point is 1,200 mm away.", "m", 1.2),
        ("about two meters", "m", 2.0),
        ("At 3 o'clock, 2 meters away.", "m", 2.0),
        ("around the 8 o'clock direction", "oclock", 8.0),
        ("It turns 30 degrees.", "deg", 30.0),
        ("There are 4 chairs.", "count", 4.0),
        ("There are four chairs in image 2.", "count", 4.0),
        ("The 2 chairs are 1.5 meters apart.", "m", 1.5),
        ("1.5 to 2 meters", "m", None),
        ("between 1 and 2 meters", "m", None),
        ("2 meters or 3 meters", "m", None),
        ("It is less than 2 meters away.", "m", None),
        ("less than 2", "m", None),
        ("at least 2 chairs", "count", None),
        ("It is 2 yards away.", "m", None),
        ("It is 2 square meters.", "m", None),
        ("It is 0.5 m³.", "m", None),
        ("It moves 1.5 m/s.", "m", None),
        ("It turns 30 degrees.", "m", None),
        ("There are 2 in the room.", "in", 2.0),
        ("There are 2 in the room.", "m", 2.0),
        ("There are 2 chairs and 3 tables.", "count", None),
        ("four", "count", 4.0),
        ("There are four.", "count", 4.0),
        ("1,5 m", "m", None),
        ("1,234,567.5 mm", "mm", 1234567.5),
        ("12,345 mm", "mm", 12345.0),
        ("1234,567 mm", "mm", None),
        ("one and a half meters", "m", None),
        ("about -0.5", "m", -0.5),
        ("the 2nd floor", "m", None),
        ("50%", "m", None),
        ("12:30", "m", None),
        ("10:30 o'clock", "oclock", None),
        ("depth:1.5 m", "m", 1.5),
        ("6 ft 6 in", "ft", 6.5),
        ("It is 5 feet and 3 inches tall.", "m", 1.6002),
        ("It lies at (617, 517), 1.3.", "m", None),
        ("It is far away.", "m", None),
    ],
)
def test_a_sentence_gives_the_one_quantity_that_it_states_or_none(text: str, unit: Unit, value: float | None) -> None:
    assert read_one_quantity(text, unit) == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("question", "unit"),
    [
        ("How deep is it? In meters.", "m"),
        ("How deep is it? The unit is meter.", "m"),
        ("How deep is it (in cm)?", "cm"),
        ("Answer in feet (ft).", "ft"),
        ("How many meters is it?", "m"),
        ("How many chairs are in the room?", None),
        ("How deep is it?", None),
    ],
)
def test_the_unit_that_a_question_asks_for_is_known(question: str, unit: Unit | None) -> None:
    assert asked_unit(question) == unit


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("It is on the left.", True), ("I see a chair", True), ("on the left", False), ("left, above, behind", False)],
)
def test_a_sentence_is_told_from_a_phrase(text: str, is_one: bool) -> None:
    assert is_sentence(text) == is_one
