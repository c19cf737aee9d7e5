"""Reading an answer's number, with or without a unit, as a strict reader would."""

import re

from spatial.grammar import read_number
from spatial.sample import Unit

_WORDS: dict[str, Unit] = {
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), "m"),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres"), "cm"),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), "mm"),
    **dict.fromkeys(("km", "kilometer", "kilometers", "kilometre", "kilometres"), "km"),
    **dict.fromkeys(("ft", "foot", "feet"), "ft"),
    **dict.fromkeys(("in", "inch", "inches"), "in"),
    **dict.fromkeys(("deg", "degree", "degrees", "°"), "deg"),
    **dict.fromkeys(("o'clock", "o’clock", "oclock"), "oclock"),
}
"""How units are written; a count is written bare."""

_LENGTH_M: dict[Unit, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001, "km": 1000.0, "ft": 0.3048, "in": 0.0254}
"""One of each unit of length in metres. Degrees, clock hours and counts convert to nothing else."""

# The unit's first character cannot be part of a number, but "e" can be both: units do not start with it.
_QUANTITY = re.compile(r"(?P<number>[0-9.eE+-]++)\s*+(?P<unit>[A-Za-z'’°]*+)")


def read_quantity(text: str, unit: Unit) -> float | None:
    """The number that `text` gives, in `unit`; None when it gives none.

    A bare number is taken to be in `unit`; "120 cm" is 1.2 in metres; a unit of another dimension gives None, and so
    does anything beside one number and one unit: "about 1.2", "1.2 m.", "1,5", "5 ft 3 in". Case of units is free.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        return None
    value = read_number(match["number"])
    if value is None or not match["unit"]:
        return value
    written = _WORDS.get(match["unit"].lower())
    if written == unit:
        return value
    if written not in _LENGTH_M or unit not in _LENGTH_M:
        return None
    return value * _LENGTH_M[written] / _LENGTH_M[unit]
