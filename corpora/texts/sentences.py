"""The answer in a sentence: yes or no by how it begins, or the one quantity that it states.

Data sets write most answers from templates ("Indeed, Region [0] is wider than Region [1].", "Its depth is about 1.5
meters."). A reward can compare what such a sentence states, but not the sentence. A sentence that states nothing
definite (a range, two lengths, "less than 2 meters") gives None here, never a guess.
"""

import re
from typing import Literal

from spatial.quantities import read_quantity
from spatial.sample import Unit

YesOrNo = Literal["yes", "no"]

# An opening counts if punctuation or a subject follows: "No, it …" denies, "No vertical gap …" describes.
_THEN = (
    r"(?=\s*(?:[,.!?;:\u2013\u2014-]|$)"
    r"|\s+(?:it|he|she|they|this|that|these|those|the|there|region|object|you|i|we)\b)"
)
_YES = re.compile(
    rf"\W*(?:yes\b|(?:yeah|yep|yup|indeed|correct|true|certainly|definitely|absolutely|of course|affirmative){_THEN}"
    rf"|(?:that|this|it)(?:'s|’s| is) (?:indeed |absolutely )?(?:true|correct|right){_THEN})",
    re.IGNORECASE,
)
_NO = re.compile(
    rf"\W*(?:(?:no|nope|incorrect|false|wrong|negative|not (?:quite|really|exactly|at all)"
    rf"|(?:certainly|definitely|absolutely|of course) not){_THEN}"
    rf"|(?:that|this|it)(?:(?:'s|’s| is) (?:false|incorrect|wrong|untrue|not (?:true|correct|right))"
    rf"|(?: isn't| isn’t) (?:true|correct|right)){_THEN})",
    re.IGNORECASE,
)
# Answers that begin like this deny what was asked, unless they say yes or no themselves.
_CONTRARY = re.compile(r"\W*(?:in fact|actually|on the contrary|quite the opposite)\b[\s,:]*", re.IGNORECASE)
_BARE = re.compile(
    r"\W*(?:it|they|he|she|this|that)(?P<no>(?:\s+(?:is|are|does|do|was|were))?(?:\s+not|n't|n’t))?"
    r"(?(no)|\s+(?:is|are|does|do|was|were))\W*",
    re.IGNORECASE,
)
_BARE_NOT = re.compile(r"\W*(?:it|they|he|she|this|that)\s+(?:is|are|does|do|was|were)n['’]t\W*", re.IGNORECASE)

_ASKS_YES_OR_NO = re.compile(
    r"(?:^|[.?!:\n])\W{0,5}(?:is|are|was|were|does|do|did|has|have|had|isn't|aren't|doesn't|don't"
    r"|(?:can|could|will|would|should)(?!\s+you\b)"
    r"|(?:can|could|will|would) you (?:please )?(?:confirm|verify|say|see|tell(?: me)?) (?:if|whether|that))\b",
    re.IGNORECASE,
)

_UNITS: dict[str, Unit] = {
    "meters?|metres?|m": "m",
    "centimeters?|centimetres?|cm": "cm",
    "millimeters?|millimetres?|mm": "mm",
    "kilometers?|kilometres?|km": "km",
    "feet|foot|ft": "ft",
    # "There are 2 in the room" gives no inches.
    r"inch(?:es)?|in(?=\s*(?:[.,;)]|$))": "in",
    "degrees?|deg|°": "deg",
    "o['’]?clock": "oclock",
}
_LENGTHS: tuple[Unit, ...] = ("m", "cm", "mm", "km", "ft", "in")
_ANY_UNIT = "|".join(f"(?P<{unit}>{pattern})" for pattern, unit in _UNITS.items())
_NO_POWER = r"(?!\w|\s*(?:squared|cubed|per\b|/|\^|²|³))"
# Digits match as a whole; a comma groups thousands, and is not read as a decimal point.
_NUMBER = r"(?<!\d:)(?<![\w.,\[/-])-?(?:\d{1,3}+(?:,\d{3})++(?!\d)|\d++)(?:\.\d++)?+"
_QUANTITY = re.compile(rf"(?P<number>{_NUMBER})[\s-]*(?:{_ANY_UNIT}){_NO_POWER}", re.IGNORECASE)
_FEET_AND_INCHES = re.compile(
    rf"(?P<feet>{_NUMBER})[\s-]*(?:feet|foot|ft)[\s,]*(?:and\s+)?(?P<inches>\d++(?:\.\d++)?+)[\s-]*(?:inch(?:es)?|in)\b",
    re.IGNORECASE,
)
_BARE_NUMBER = re.compile(rf"(?P<number>{_NUMBER})(?![\w%°/]|[.,:]\d)(?P<then>\s+[a-z]+)?", re.IGNORECASE)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_COUNT_IN_WORDS = re.compile(rf"\b({'|'.join(_WORDS)})(?=[\s-]+[a-z]|\W*$)", re.IGNORECASE)
_LENGTH_IN_WORDS = re.compile(rf"\b({'|'.join(_WORDS)})(?=[\s-]+(?:{_ANY_UNIT}){_NO_POWER})", re.IGNORECASE)
_ANY_NUMBER = re.compile(rf"(?:{_NUMBER})(?!(?:st|nd|rd|th)\b)")
_UNIT_WORD = re.compile(
    r"\b(?:(?:centi|milli|kilo)?met(?:er|re)s?|cm|mm|km|feet|foot|ft|inch(?:es)?|yards?|degrees?)\b"
)
# Names that end in a number are not quantities.
_NAMES = re.compile(
    r"\b(?:region|object|image|frame|view|picture|photo|figure|camera|mask|box|point|option|step|room|area)s?[\s_#-]*"
    r"\[?\d+\]?",
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"\d\s*(?:[a-z°'’]+\s*)?(?:-|–|—|~|to|or)\s*\d|\bbetween\s+\d[\d.]*\s*\w*\s+and\s+\d", re.IGNORECASE
)
_BOUND = re.compile(
    r"\b(?:not|(?:less|more|fewer|greater|larger|smaller|farther|further|closer|nearer) than|at (?:least|most)|over"
    r"|under|up to|within|beyond|below|above|exceeds?)\s+(?:about\s+|around\s+|roughly\s+)?-?\d",
    re.IGNORECASE,
)
# Words that may follow a length without a unit; any other word could be an unknown unit.
_NO_UNIT = re.compile(
    r"\s+(?:away|apart|from|deep|wide|tall|high|long|far|thick|in|and|for|to|which|when|relative|than|at|as|on|of|with|but)",
    re.IGNORECASE,
)
_SAME = 0.02
"""A length in two units ("1.5 meters (4.92 feet)") may differ by this share, because both are rounded."""

_ASKED_UNIT = re.compile(
    rf"\b(?:in|units?(?:\s+of\s+\w+)?(?:\s+(?:is|are|in|as)|\s*[:=])?(?:\s+the)?)\s+\(?(?:{_ANY_UNIT}){_NO_POWER}"
    rf"|\(\s*(?:in\s+)?(?:{_ANY_UNIT.replace('?P<', '?P<p_')})\s*\)"
    rf"|\bhow many (?:{_ANY_UNIT.replace('?P<', '?P<h_')}){_NO_POWER}",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"\b(?:is|are|was|were|isn't|aren't|has|have|had|does|do|did|can|could|cannot|will|would|may|might|must|appears?"
    r"|seems?|looks?|lies|stands|sits|remains?|moves|moved|i|we)\b|\b(?:it|that|there|they|i|we)['’](?:s|re|m|ve)\b",
    re.IGNORECASE,
)


def asks_yes_or_no(question: str) -> bool:
    """Whether a question asks for yes or no ("Is …?", "Can you confirm if …?")."""
    return _ASKS_YES_OR_NO.search(question) is not None


def asks_how_many(question: str) -> bool:
    """Whether a question asks for a count."""
    return re.search(r"\bhow many\b", question, re.IGNORECASE) is not None


def read_yes_or_no(text: str, question: str) -> YesOrNo | None:
    """The answer to `question` that the opening of a sentence gives; None: it opens differently."""
    contrary = _CONTRARY.match(text)
    said = text[contrary.end() :] if contrary else text
    if _YES.match(said):
        return "yes"
    if _NO.match(said):
        return "no"
    if not asks_yes_or_no(question):
        return None
    if contrary or _BARE_NOT.fullmatch(text):
        return "no"
    bare = _BARE.fullmatch(text)
    return None if bare is None else "no" if bare["no"] else "yes"


def written_quantities(text: str) -> list[tuple[float, Unit]]:
    """The numbers of a text that have a unit, in order, with their units."""
    if _RANGE.search(text) or _BOUND.search(text):
        return []
    text = _FEET_AND_INCHES.sub(_in_feet, _digits(text, counts=False))
    return [(_value(match["number"]), _unit_of(match)) for match in _QUANTITY.finditer(_NAMES.sub("it", text))]


def read_one_quantity(text: str, unit: Unit) -> float | None:
    """The one quantity that a text states, in `unit`.

    Numbers with a unit of the same dimension take precedence over bare ones; several must agree. A bare number counts
    only if there is no other, and no word follows that could be a unit.
    """
    if _RANGE.search(text) or _BOUND.search(text):
        return None
    written = written_quantities(text)
    if found := [(kind, in_unit(value, kind, unit)) for value, kind in written if _same_dimension(kind, unit)]:
        values = [value for _, value in found]
        if max(values) - min(values) > _SAME * max(map(abs, values)):
            return None
        return next((value for kind, value in found if kind == unit), values[0])
    if written:
        return None
    bare = list(_BARE_NUMBER.finditer(_NAMES.sub("it", _digits(text, counts=unit == "count"))))
    if unit != "count" and any(match["then"] and not _NO_UNIT.fullmatch(match["then"]) for match in bare):
        return None
    values = [_value(match["number"]) for match in bare]
    return values[0] if len(set(values)) == 1 else None


def numbers_in(text: str) -> list[float]:
    """The numbers of a text, with or without a unit, except those in names ("region 1")."""
    return [_value(match[0]) for match in _ANY_NUMBER.finditer(_NAMES.sub("it", text))]


def names_a_unit(text: str) -> bool:
    """Whether a text mentions a unit at all ("one and a half meters")."""
    return _UNIT_WORD.search(text) is not None


def asked_unit(question: str) -> Unit | None:
    """The unit that a question asks for ("in meters", "The unit is meter."); None: it names none."""
    found = [_unit_of(match) for match in _ASKED_UNIT.finditer(question)]
    return found[-1] if len(set(found)) == 1 else None


def is_number_word(text: str) -> bool:
    """Whether a text is only a number word ("two.")."""
    return text.lower().rstrip(".") in _WORDS


def is_sentence(text: str) -> bool:
    """Whether a text states something, as "It is on the left" does and "on the left" does not."""
    return len(text.split()) > 1 and _VERB.search(text) is not None


def in_unit(value: float, written: Unit, unit: Unit) -> float:
    """`value`, given in the unit `written`, in `unit` of the same dimension."""
    converted = read_quantity(f"{value!r} {written}", unit) if written != unit else value
    assert converted is not None, (value, written, unit)
    return converted


def _same_dimension(one: Unit, other: Unit) -> bool:
    return one == other or (one in _LENGTHS and other in _LENGTHS)


def _unit_of(match: re.Match[str]) -> Unit:
    name = next(name.rpartition("_")[2] for name, text in match.groupdict().items() if text and name != "number")
    return next(unit for unit in _UNITS.values() if unit == name)


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _in_feet(match: re.Match[str]) -> str:
    return f"{_value(match['feet']) + _value(match['inches']) / 12:.6f} feet"


def _digits(text: str, counts: bool) -> str:
    """Number words as digits: before a unit, and before any noun if things are counted."""
    pattern = _COUNT_IN_WORDS if counts else _LENGTH_IN_WORDS
    return pattern.sub(lambda match: str(_WORDS.index(match[1].lower())), text)
