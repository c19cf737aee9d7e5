"""Numbers in answers."""

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.benchmarks.measures import read_measure
from spatial.sample import Unit


@pytest.mark.parametrize(
    ("answer", "unit", "value"),
    [
        ("1.2", "m", 1.2),
        (" 1.2 m ", "m", 1.2),
        ("120 cm", "m", 1.2),
        ("about 120 cm.", "m", 1.2),
        ("The distance is 1.2 meters.", "m", 1.2),
        ("It is 1.2.", "m", 1.2),
        ("1.2 m", "cm", 120.0),
        ("3 boxes", "count", 3.0),
        ("There are 3 of them", "count", 3.0),
        ("25 m²", "count", 25.0),
        ("25 m^2", "count", 25.0),
        ("25 square meters", "count", 25.0),
        ("3 o'clock", "oclock", 3.0),
        ("at 3 o'clock", "oclock", 3.0),
        ("at -0.5 m", "m", -0.5),
        ("2 to 3 m", "m", None),
        ("2-3 m", "m", None),
        ("5 ft 3 in", "m", None),
        ("1,200", "m", None),
        ("version 1.2.3", "m", None),
        ("three", "count", None),
        ("", "m", None),
        ("far", "m", None),
    ],
)
def test_the_one_number_of_an_answer_is_read_in_its_unit(answer: str, unit: Unit, value: float | None) -> None:
    assert read_measure(answer, unit) == (None if value is None else pytest.approx(value))


TWO_METRES = (
    *("2 meters (6.6 feet)", "6.6 feet (2 meters)", "about 2 meters (about 6.6 feet)", "2 m / 6.6 ft", "2 m or 6.6 ft"),
    *(
        "78.7 inches (6.56 feet, 2 m)",
        "2米",
        "约2米左右",
        "200厘米",
        "距离是2米。",
        "20分米",
        "20 dm",
        "2000 mm",
        "0.002 km",
    ),
    *("2 Meters", "2 M", "2 meter(s)", "2-meter gap", "2m.", "~2 m", "≈2 m", "２ m", "2\u00a0m", '"2"', "'2.0'"),
    *(r"\boxed{2\text{ m}}", r"$2\,\mathrm{m}$", r"\boxed{2}", r"$\boxed{200\text{ cm}}$", r"\(2\) m", "**2** meters"),
    *(
        r"\scalar{2} \distance_unit{meter}",
        r"\scalar{200} \distance_unit{cm}",
        "2 in front of it",
        "2 apart",
        "2\nIt is so",
    ),
    *("Answer: 2 m. The table is 1.5 m tall.", "The table is 1.5 m tall. So the answer is 2 m.", "2 m. Yes, 2 m."),
    *(
        "2 meters [6.6 feet]",
        "2 m ≈ 6.6 ft",
        "6.6 feet, which is about 2 meters",
        "2 meters, or about 6.6 feet",
        "d = 2 m",
    ),
    *(
        r"$\approx 2$ m",
        r"\(2 \, \text{m}\)",
        r"\frac{4}{2} m",
        "\\scalar{200}\n\\distance_unit{cm}",
        "2 (meters)",
        "2 公尺",
    ),
    *("2 chairs are 2 m apart", "The 2nd chair is 2 m away", "2 m away, at 3 o'clock", "2 m at 30 degrees"),
)
NO_LENGTH = (
    *("2 to 3 m", "2-3 m", "2–3 m", "2~3 m", "between 2 and 3 m", "2 or 3 m", "2 m to 7 ft", "2 m - 7 ft", "2 ± 0.1 m"),
    *(
        "2 meters (10 feet)",
        "2 m (6 ft 1 in, 9 ft)",
        "1 m 98 cm",
        "the answer is 2 to 3 m",
        "1.5 + 0.5 = 2.0",
        "5 ft 3 in",
        "5'3\"",
        "5ft3in",
        "1/2 m",
        "2,0",
    ),
    *(
        "3 o'clock",
        "at 3 o'clock",
        "3:00",
        "3点",
        "30 degrees",
        "50%",
        "2 pixels",
        "2 parsecs",
        "2 units",
        "2 steps",
        "2把",
    ),
    *(
        "2 metros",
        "2 kg",
        "2 px",
        "1{,}200 mm",
        r"1\frac{1}{2} m",
        "2 m/s",
        "2 m²",
        "2 m^2",
        "2 square meters",
        "2 hours",
        r"\scalar{1} \distance_unit{cubit}",
        "1.5 x 2 m",
        "两米",
    ),
)


@pytest.mark.parametrize("answer", TWO_METRES)
def test_a_length_is_read_however_it_is_written(answer: str) -> None:
    assert read_measure(answer, "m") == pytest.approx(2.0, abs=2e-3)


@pytest.mark.parametrize("answer", NO_LENGTH)
def test_an_unknown_unit_another_dimension_and_two_lengths_are_no_length(answer: str) -> None:
    assert read_measure(answer, "m") is None


@pytest.mark.parametrize(
    ("answer", "unit", "value"),
    [
        ("6.5'", "m", 1.9812),
        ("6.5′", "m", 1.9812),
        ('78"', "m", 1.9812),
        ("78″", "m", 1.9812),
        ("78''", "m", 1.9812),
        ("2 in.", "m", 0.0508),
        ("2 in wide", "m", 0.0508),
        ("2 yards", "m", 1.8288),
        ("1 mile", "km", 1.609344),
        ("10英寸", "cm", 25.4),
        (r"\boxed{2\text{ m}}", "cm", 200.0),
        ("1.83 m (6 feet)", "ft", 6.0),  # in the unit that is asked for, where it is given
        ("−2 m", "m", -2.0),
        (r"$30^\circ$", "deg", 30.0),
        ("30度", "deg", 30.0),
        ("30º", "deg", 30.0),
        ("3:00", "oclock", 3.0),
        ("3点钟方向", "oclock", 3.0),
        ("3 hours", "oclock", None),
        ("3把椅子", "count", 3.0),
        ("3 m", "count", None),
        ("25平方米", "count", 25.0),
        ("25 sq. m", "count", 25.0),
        ("269 square feet", "count", 24.990918),  # an area is a count of square metres
        ("25 square meters (269 square feet)", "count", 25.0),
    ],
)
def test_units_are_converted_to_the_one_of_the_truth(answer: str, unit: Unit, value: float | None) -> None:
    assert read_measure(answer, unit) == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize("piece", ["1", "1 ", "1,", "1 m ", "-", "answer is 1 ", "\\frac{1}{", "(1 ft", "° "])
def test_a_long_answer_is_read_in_time(piece: str) -> None:
    start = time.perf_counter()
    read_measure(piece * 4000, "m")
    assert time.perf_counter() - start < 2.0


@settings(max_examples=50, deadline=None)
@given(value=st.floats(0, 1000), before=st.sampled_from(["", "about ", "It is "]), unit=st.sampled_from(["m", "cm"]))
def test_a_sentence_around_a_number_changes_nothing(value: float, before: str, unit: str) -> None:
    assert read_measure(f"{before}{value:.3f} {unit}", "m") == read_measure(f"{value:.3f}{unit}", "m")


@settings(max_examples=50, deadline=None)
@given(answer=st.text(alphabet="0123456789.-+e mcft'", max_size=30))
def test_any_text_is_a_finite_length_or_none(answer: str) -> None:
    length_m = read_measure(answer, "m")
    assert length_m is None or math.isfinite(length_m)


@pytest.mark.parametrize(
    ("answer", "value_cm"),
    [
        ("2 (m)", 200.0),
        ("2 [meters]", 200.0),
        ("2{m}", 200.0),
        (r"\SI{2}{\meter}", 200.0),
        (r"\qty{2}{m}", 200.0),
        (r"2 \mbox{m}", 200.0),
        (r"2\,\si{\meter}", 200.0),
        ("size: 2.0, unit: m", 200.0),
        ('{"distance": 2.0, "unit": "m"}', 200.0),
        ("The unit is in meters. It is 2.", 200.0),
        ("in metres: 2", 200.0),
        ("distance (in m): 2", 200.0),
        ("2.0, unit: furlong", None),
        ("2 (see the left)", 2.0),
    ],
)
def test_a_unit_apart_from_its_number_counts(answer: str, value_cm: float | None) -> None:
    assert read_measure(answer, "cm") == value_cm


@pytest.mark.parametrize(
    "answer", ["2到3米", "2至3米", "2 至 3 米", "介于2和3米之间", "2或3米", "√2 m", r"\sqrt{2} m", "1_000 m"]
)
def test_a_chinese_range_and_a_root_are_no_length(answer: str) -> None:
    assert read_measure(answer, "m") is None
