"""Reading numbers from answers: alone or in a sentence, with or without a unit."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from evaluation.benchmarks.plain import plain
from spatial.grammar import read_number
from spatial.quantities import UNITS, WrittenUnit, in_unit, read_quantity
from spatial.sample import Unit

_SAME = 0.1
"""One length in two units ("3 feet (1 meter)") may differ by this share of it, because both are rounded."""

# A number with the signs that may be part of it, so that "1,200", "1/2" and "1.2.3" match as a whole. It follows no
# letter, power or root sign ("region1", "m^2", "√2"), and is not an ordinal ("2nd", "3D").
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_^.√])-?(?:[0-9]|\.(?=[0-9]))(?:[0-9.]|[,/](?=[0-9]))*+(?:e[+-]?[0-9]++)?(?!(?:st|nd|rd|th|d)\b)",
    re.IGNORECASE,
)
_CHINESE_UNITS = "|".join(sorted((word for word in UNITS if word >= "\u4e00"), key=len, reverse=True))
_UNIT = re.compile(
    r"[^\S\n]*-?(?P<square>square\s+|sq\.?\s*|平方)?"
    rf"(?P<word>o\s?['’]?\s?clock|[A-Za-zμ]+|''|’’|′′|['’′\"°]|{_CHINESE_UNITS})"
    r"(?P<power>(?<=[A-Za-z])\^?\{?[23]\}?(?![0-9.])|\s(?:squared|cubed)\b)?(?P<per>\s?(?:/|per\b)\s?[A-Za-z]|(?<=[A-Za-z])[0-9])?",
    re.IGNORECASE,
)
_SIGN = re.compile(r"[^\S\n]*[%‰€£¥^]|_")
_CHINESE_WORD = re.compile(r"[^\S\n]*(?!左右|多|以|[到至或和与]\s*[0-9])[\u4e00-\u9fff]")
_NO_UNIT = re.compile(
    r"a|about|above|across|and|apart|approximately|as|at|away|based|because|below|between|but|by|considering|deep|far|for"
    r"|from|given|high|if|in|is|it|long|of|on|or|over|roughly|since|so|tall|than|that|the|there|thick|to|total|towards"
    r"|under|while|which|wide|with|within|x"
)
"""Words that may follow a length without a unit; any other word could be an unknown unit."""
_NOT_INCHES = re.compile(r"\s+(?!(?:and|apart|away|between|by|deep|from|high|long|or|tall|thick|to|wide|x)\b)[A-Za-z]")
"""The text after the "in" of "2 in front of it", which does not mean inches."""
_OTHER_UNIT = re.compile(r"\s*(?:[(\[,/=≈~]|or\b|which is\b|that is\b|i\.e\.)", re.IGNORECASE)
"""Text between a length and the same length in another unit; "to", "-" and "and" separate two lengths."""
_IN_BRACKETS = re.compile(r"(?<=[0-9])\s*(?:\(\s*([A-Za-z]+)\s*\)|\[\s*([A-Za-z]+)\s*\]|\{\s*([A-Za-z]+)\s*\})")
_NAMED_UNIT = re.compile(
    r"\bunits?[\"']?\s*(?:is|are|:|=)\s*(?:in\s+)?[\"']?([A-Za-z]+)|\bin\s+\(?([A-Za-z]+)\)?\s*[:=]\s*(?=[0-9.])|\(in\s+([A-Za-z]+)\)",
    re.IGNORECASE,
)
"""A unit that is not next to its number: "unit: cm", "in metres: 2", "distance (in cm)"."""
_PARTS = ((UNITS["ft"], UNITS["in"]), (UNITS["m"], UNITS["cm"]))
_SIDE_BY_SIDE = re.compile(r"\s*(?:,|,?\s*and)?\s*")
_STATED = re.compile(r"(?:\banswer\s*(?:is|:|=)|答案(?:是|为|:))[^\n]*?(?=[.。;]\s|\n|$)", re.IGNORECASE)
_QUOTED = re.compile(r"(?<!\w)([\"'“‘])(-?[0-9.]+)[\"'”’](?!\w)")
_FULL_HOUR = re.compile(r"\b([0-9]{1,2}):00\b")


@dataclass(frozen=True, slots=True)
class _Quantity:
    """A number with the unit after it."""

    value: float | None
    """None: it cannot be read ("1,200", "1/2")."""
    unit: WrittenUnit | None
    """None: there is no unit, or an unknown one."""
    is_bare: bool
    """Whether no unit follows, known or not."""
    start: int
    end: int
    is_joined: bool = False
    """Whether it is two quantities that belong together ("5 ft 3 in")."""


def read_measure(answer: str, unit: Unit) -> float | None:
    """The one number in an answer, in `unit`; None where there is none, or several ("2 to 3 m", "5 ft 3 in").

    A bare number is in `unit`. Other units are converted ("about 120 cm" is 1.2 in metres), and a length in two units
    is one length ("2 meters (6.6 feet)", "5 ft 3 in (1.6 m)"). A number with an unknown unit, or one of another
    dimension ("3 o'clock" for a length), does not count. Any word may follow a count ("3 boxes"), and an
    area is a count of square metres. If numbers are called the answer ("So the answer is 2 m"), only these count.
    """
    value = read_quantity(answer, unit)
    if value is not None:
        return value
    text = _FULL_HOUR.sub(r"\1 o'clock", _QUOTED.sub(r"\2", plain(answer.replace("º", "°")).replace("−", "-")))
    text = _IN_BRACKETS.sub(_out_of_brackets, text)
    quantities = list(_joined(_quantities(text), text))
    if named := _NAMED_UNIT.search(text):
        apart = UNITS.get(named[named.lastindex or 0].lower())
        quantities = [replace(each, unit=apart, is_bare=False) if each.is_bare else each for each in quantities]
    stated = [match.span() for match in _STATED.finditer(text)]
    called = [each for each in quantities if any(start <= each.start < end for start, end in stated)]
    return _only(called or quantities, text, unit)


def _out_of_brackets(match: re.Match[str]) -> str:
    word = match[match.lastindex or 0]
    return f" {word}" if word.lower() in UNITS else match[0]


def _quantities(text: str) -> Iterator[_Quantity]:
    for number in _NUMBER.finditer(text):
        written = _UNIT.match(text, number.end())
        if written and _is_no_unit(written):
            written = None
        unit = _unit(written) if written else None
        is_bare = not (written or _SIGN.match(text, number.end()) or _CHINESE_WORD.match(text, number.end()))
        end = written.end() if written and unit else number.end()
        yield _Quantity(read_number(number[0].rstrip(".")), unit, is_bare, number.start(), end)


def _joined(quantities: Iterator[_Quantity], text: str) -> Iterator[_Quantity]:
    """The quantities, with adjacent feet and inches, or metres and centimetres, joined into one in the larger unit."""
    held: _Quantity | None = None
    for each in quantities:
        if held and (held.unit, each.unit) in _PARTS and _SIDE_BY_SIDE.fullmatch(text, held.end, each.start):
            assert held.unit is not None
            assert each.unit is not None
            if held.value is not None and each.value is not None:
                value = held.value + each.value * each.unit.size / held.unit.size
                each = replace(held, value=value, end=each.end, is_joined=True)
        elif held:
            yield held
        held = each
    if held:
        yield held


def _is_no_unit(written: re.Match[str]) -> bool:
    word = written["word"].lower()
    if word == "in":
        return _NOT_INCHES.match(written.string, written.end()) is not None
    return _NO_UNIT.fullmatch(word) is not None


def _unit(written: re.Match[str]) -> WrittenUnit | None:
    """The unit after a number: a length, its square, an angle or an hour; None: it is unknown."""
    known = UNITS.get(re.sub(r"\s", "", written["word"].lower()))
    if known is None or written["per"]:
        return None
    power = (written["power"] or "").strip(" ^{}")
    if not power and not written["square"]:
        return known
    is_square = known.dimension == "length" and power in ("", "2", "squared")
    return WrittenUnit("area", known.size**2) if is_square else None


def _only(quantities: Sequence[_Quantity], text: str, unit: Unit) -> float | None:
    """The value in `unit` on which all agree; if one has a unit of its dimension, others do not count."""
    valued = [(each, _value(each, unit)) for each in quantities]
    if any(each.unit is not None and value is not None for each, value in valued):
        valued = [(each, value) for each, value in valued if each.is_bare or (each.unit and value is not None)]
    values = [value for _, value in valued if value is not None]
    if not values or len(values) < len(valued) or (len(valued) == 1 and valued[0][0].is_joined):
        return None
    if len(set(values)) == 1 or _is_one_in_several_units([each for each, _ in valued], values, text):
        return next((value for each, value in valued if _is_in(each, unit) and value is not None), values[0])
    return None


def _is_one_in_several_units(quantities: Sequence[_Quantity], values: Sequence[float], text: str) -> bool:
    for one, other in pairwise(quantities):
        if (
            None in (one.unit, other.unit)
            or one.unit == other.unit
            or not _OTHER_UNIT.match(text, one.end, other.start)
        ):
            return False
    return max(values) - min(values) <= _SAME * max(map(abs, values))


def _is_in(quantity: _Quantity, unit: Unit) -> bool:
    return quantity.unit is not None and quantity.unit.size == UNITS[unit].size


def _value(quantity: _Quantity, unit: Unit) -> float | None:
    """The value in `unit`; None: it cannot be read, or its unit is unknown or of another dimension."""
    value, written = quantity.value, quantity.unit
    if value is None or (written is None and not quantity.is_bare and unit != "count"):
        return None
    if written is None:
        return value
    if unit == "count" and written.dimension == "area":
        return value * written.size
    return in_unit(value, written, unit)
