"""Units as answers write them, and strict reading of a number with or without its unit."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from spatial.grammar import read_number
from spatial.sample import Unit

Dimension = Literal["length", "area", "angle", "hour", "count"]


@dataclass(frozen=True, slots=True)
class WrittenUnit:
    """The meaning of a written unit."""

    dimension: Dimension
    size: float
    """One such unit in metres, square metres, degrees or hours of the clock."""


_LENGTHS_M: tuple[tuple[float, str], ...] = (
    (1.0, "m meter meters metre metres 米 公尺"),
    (0.1, "dm decimeter decimeters decimetre decimetres 分米"),
    (0.01, "cm cms centimeter centimeters centimetre centimetres 厘米 公分"),
    (0.001, "mm mms millimeter millimeters millimetre millimetres 毫米"),
    (1e-6, "µm μm um micrometer micrometers micrometre micrometres 微米"),
    (1000.0, "km kms kilometer kilometers kilometre kilometres 千米 公里"),
    (0.0254, "in inch inches ″ \" '' ’’ ′′ 英寸"),
    (0.3048, "ft foot feet ′ ' ’ 英尺"),
    (0.9144, "yd yds yard yards 码"),
    (1609.344, "mi mile miles 英里"),
)


def _spelled() -> Iterator[tuple[str, WrittenUnit]]:
    for size_m, words in _LENGTHS_M:
        for word in words.split():
            yield word, WrittenUnit("length", size_m)
    for word in ("deg", "degree", "degrees", "°", "度"):
        yield word, WrittenUnit("angle", 1.0)
    for word in ("o'clock", "o’clock", "oclock", "点", "点钟"):
        yield word, WrittenUnit("hour", 1.0)
    yield "count", WrittenUnit("count", 1.0)


UNITS: dict[str, WrittenUnit] = dict(_spelled())
"""Units by their spelling, in lower case. An answer writes no unit after a count."""

# The unit's first character cannot be part of a number, but "e" can be both: units do not start with it.
_QUANTITY = re.compile(r"(?P<number>[0-9.eE+-]++)\s*+(?P<unit>[A-Za-zµμ'’′″\"°\u4e00-\u9fff]*+)")


def read_quantity(text: str, unit: Unit) -> float | None:
    """The number that `text` gives, in `unit`; None when it gives none.

    A bare number is taken to be in `unit`; "120 cm" is 1.2 in metres. A unit that is unknown or of another dimension
    gives None, and so does anything besides one number and one unit: "about 1.2", "1.2 m.", "1,5", "5 ft 3 in". Units
    may be in upper or lower case.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        return None
    value = read_number(match["number"])
    if value is None or not match["unit"]:
        return value
    written = UNITS.get(match["unit"].lower())
    return None if written is None or written.dimension == "count" else in_unit(value, written, unit)


def in_unit(value: float, written: WrittenUnit, unit: Unit) -> float | None:
    """`value`, given in the unit `written`, in `unit`; None if the two have different dimensions."""
    wanted = UNITS[unit]
    if written.dimension != wanted.dimension:
        return None
    return value if written.size == wanted.size else value * written.size / wanted.size
