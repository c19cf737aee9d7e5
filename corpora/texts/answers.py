"""Answers as people write them in tables: a letter, an option's text, a number with or without its unit, words."""

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from string import ascii_uppercase
from typing import Any, Literal

import orjson

from corpora.rows import RowError
from corpora.texts.sentences import (
    asked_unit,
    asks_how_many,
    asks_yes_or_no,
    is_sentence,
    numbers_in,
    read_one_quantity,
    read_yes_or_no,
    written_quantities,
)
from spatial.dataset import shorten
from spatial.sample import Answer, ChoiceAnswer, NumberAnswer, TextAnswer, Unit

AnswerType = Literal["auto", "choice", "number", "text"]
_ASK_FOR_LETTER = "Answer with the letter of the right option."
_LETTER = re.compile(r"\W{0,2}([A-Za-z])\W{0,2}")
_LETTER_ALONE = re.compile(r"\(?[A-H][.)]{0,2}")
_LETTERED = re.compile(r"\(?([A-Za-z])[.):]\s*(\S.*)", re.DOTALL)
_NAMED_LETTER = re.compile(
    r"(?:(?:the )?(?:correct |right )?(?:answer|option|choice)(?: is)?[\s:]*)+\W{0,3}([A-Z])\W{0,3}", re.IGNORECASE
)
_OPTION_START = re.compile(r"(?:(?<=^)|(?<=[\s;,|(]))([A-Z])[.):]\s*(?=\S)")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_MAX_OPTIONS_CHARS = 20_000
_MISSING = ("", "none", "null", "nan", "inf", "-inf", "n/a", "[]", "{}")
_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL | re.IGNORECASE)
_LEFT_OPEN = re.compile(r"<answer>((?:(?!</?answer>).)*\S)\s*$", re.DOTALL | re.IGNORECASE)
_INTRODUCED = re.compile(r"(?:the )?(?:final |correct |right )?answer(?: is|:| is:)\s+(\S.*)", re.IGNORECASE)
_STARTS_WITH_NUMBER = re.compile(r"[\W_]*\d[\d.,]*(?![\d.,]*(?:D|st|nd|rd|th)\b)")
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?([^{}]*)\}?\}")
_OPTION_IN_TEXT = re.compile(r"(?:^|[\s(])([A-Z])[.):](?=\s)")


def bare_answer(text: str, field: str) -> str:
    """The text in answer tags, in a LaTeX box, or after "The answer is"; otherwise the whole text.

    Raises:
        RowError: there are several such answers, and they differ.
    """
    written = _TAGGED.findall(text) or _LEFT_OPEN.findall(text) or _BOXED.findall(text)
    found = {answer.strip() for answer in written}
    if len(found) > 1:
        raise RowError(field, text, "several answers in tags, which differ; give one")
    bare = (found.pop() if found else text).strip()
    introduced = _INTRODUCED.fullmatch(bare)
    return introduced[1].removesuffix(".") if introduced else bare


def read_options(cell: Any, field: str) -> tuple[str, ...]:
    """The texts of the options, without their letters ("A. left"); empty if the cell holds none (null, "", []).

    A cell may be a list, an object by letter, either of them as a string, or a string with one option per line or after
    letters.

    Raises:
        RowError: it is none of these, there is only one option or more than 26, or two are the same.
    """
    listed = [None if _is_missing(option) else option for option in _listed(cell, field)]
    while listed and listed[-1] is None:  # tables have as many columns as their longest row
        listed.pop()
    options = tuple(_option(option, cell, field) for option in listed)
    if not options:
        return ()
    lettered = [_LETTERED.fullmatch(option) for option in options]
    if all(match and match[1].upper() == letter for match, letter in zip(lettered, ascii_uppercase, strict=False)):
        options = tuple(match[2] for match in lettered if match)
    elif all(lettered) and {match[1].upper() for match in lettered if match} <= set(ascii_uppercase[: len(options)]):
        raise RowError(
            field, cell, "their letters are not in order; give them from A on, because answers name them by letter"
        )
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise RowError(field, len(options), "give 2 to 26 options")
    if len(set(options)) < len(options):
        raise RowError(field, cell, "two options are the same; one letter must be right")
    return options


def _is_missing(value: Any) -> bool:
    """Whether a cell is empty, in one of the ways in which tables write that."""
    if isinstance(value, float):
        return not math.isfinite(value)
    return value is None or (isinstance(value, str) and value.strip().lower() in _MISSING)


def _option(option: Any, cell: Any, field: str) -> str:
    if isinstance(option, bool) or not isinstance(option, (str, int, float)):
        raise RowError(field, cell, "give a list of texts")
    return str(option).strip()


def _listed(cell: Any, field: str) -> list[Any]:
    if _is_missing(cell):
        return []
    if isinstance(cell, str):
        return _listed_in(cell.strip(), field)
    if isinstance(cell, dict):
        if isinstance(texts := cell.get("text"), (list, tuple)):  # {"text": [...], "label": ["A", ...]}
            return list(texts)
        if [str(key).upper() for key in cell] == list(ascii_uppercase[: len(cell)]):
            return list(cell.values())
    if not isinstance(cell, (list, tuple)):
        raise RowError(field, cell, "give a list of texts, or an object by letter")
    return list(cell)


def _listed_in(text: str, field: str) -> list[Any]:
    """The options that a string lists: as JSON, as Python or NumPy print lists, one per line, or after letters."""
    if len(text) > _MAX_OPTIONS_CHARS:
        raise RowError(field, text[:40], f"more than {_MAX_OPTIONS_CHARS} characters of options")
    if text[0] in "[{":
        try:
            return _listed(orjson.loads(text), field)
        except orjson.JSONDecodeError:
            quoted = [re.sub(r"\\(.)", r"\1", match[1] or match[2] or "") for match in _QUOTED.finditer(text)]
            if quoted and text[0] == "[" and not _QUOTED.sub("", text).strip("[], \n\t"):
                return quoted
            raise RowError(field, text, "no list of texts: give JSON") from None
    lettered = options_in(text)
    if len(lettered) >= 2:
        return list(lettered)
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 and "|" in text:
        lines = text.split("|")
    if len(lines) < 2:
        raise RowError(field, text, "give a list of texts; in a text, one option per line or each after its letter")
    return list(lines)


def with_options(question: str, options: Sequence[str], field: str) -> str:
    """A question with its options, that asks for a letter; unchanged if it already lists them.

    Raises:
        RowError: the question lists other options.
    """
    if not options:
        return question
    if written := options_in(question):
        if [_plain(option) for option in written] == [_plain(option) for option in options]:
            return question
        raise RowError(field, list(options), f"the question lists other options: {shorten(repr(list(written)))}")
    return asking_for_letter(question, options)


def asking_for_letter(question: str, options: Sequence[str] = ()) -> str:
    """A question with its options, one per line after its letter ("A. left"), that asks for a letter."""
    lines = (f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
    return "\n".join([question, *lines, _ASK_FOR_LETTER])


def _plain(option: str) -> str:
    """An option for comparison: without case, white space and outer punctuation."""
    return "".join(option.casefold().split()).strip(".,;:()'\"")


def options_in(question: str) -> tuple[str, ...]:
    """The texts of the options that a text lists after letters from A on; empty if it lists fewer than two."""
    starts: list[re.Match[str]] = []
    for match in _OPTION_START.finditer(question):
        if match[1] == ascii_uppercase[len(starts) % 26]:
            starts.append(match)
        elif match[1] == "A":
            starts = [match]
    if len(starts) < 2:
        return ()
    ends = [match.start() for match in starts[1:]] + [len(question)]
    texts = (question[match.end() : end].strip() for match, end in zip(starts, ends, strict=True))
    # A line after the last option does not belong to it ("Answer with a letter.").
    return tuple(text.splitlines()[0].strip(" ;,|(") if text else "" for text in texts)


def num_options_in(question: str) -> int:
    """The number of options that a question's own text lists: "A. left", "(B) right", …"""
    found = set(_OPTION_IN_TEXT.findall(question))
    return next((n for n, letter in enumerate(ascii_uppercase) if letter not in found), len(ascii_uppercase))


def read_answer(
    cell: Any,
    kind: AnswerType,
    unit: Unit | None,
    options: Sequence[str],
    num_options: int,
    field: str,
    question: str = "",
) -> tuple[Answer, str]:
    """An answer, and the text to write it with. Text in answer tags is the answer; true and false mean yes and no.

    "auto": a choice if there are options; otherwise a quantity, in `unit`, in the unit that the question asks for or in
    its own (an integer without a unit is a count); otherwise yes, no or a text.

    Args:
        options: the texts of the options, if known.
        num_options: the number of options, whether or not their texts are known.

    Raises:
        RowError: it is not such an answer; or ("auto") it is a sentence or a number that no reward can compare.
    """
    if isinstance(cell, bool):
        cell = "yes" if cell else "no"
    if isinstance(cell, Decimal):
        cell = float(cell)
    if _is_missing(cell) or not isinstance(cell, (str, int, float)):
        raise RowError(field, cell, "give a text, a number or a letter")
    text = bare_answer(str(cell), field)
    if not text:
        raise RowError(field, cell, "the answer is empty")
    if kind == "choice" or (kind == "auto" and num_options >= 2):
        return _choice(cell, text, options, num_options, field)
    if kind == "text":
        return TextAnswer(text=text), text
    wanted = unit or asked_unit(question) or ("count" if asks_how_many(question) else None)
    if number := _number(text, wanted):
        return number, _written(number.value, number.unit)
    if kind == "number":
        raise RowError(field, cell, f"cannot be read as a number in {wanted or 'count'}")
    if asks_yes_or_no(question) and (said := read_yes_or_no(text, question)):
        return TextAnswer(text=said), said
    if numbers_in(text) and (wanted is not None or _STARTS_WITH_NUMBER.match(text)):
        fault = f"cannot be read in {wanted}" if wanted else "no single quantity"
        if wanted is None and _is_number(text):
            fault = "a number without a unit: set unit"
        raise RowError(field, cell, f"{fault}; or set answer_type=text to keep it as a text")
    if _LETTER_ALONE.fullmatch(text):
        advice = "a letter, but there are no options: name their column, or set answer_type=text to keep it as a text"
        raise RowError(field, cell, advice)
    if is_sentence(text):
        if (said := read_yes_or_no(text, question)) is None:
            raise RowError(field, cell, "a sentence, which no reward can compare; answer_type=text keeps it as a text")
        text = said
    text = text.rstrip(".") or text
    return TextAnswer(text=text), text


def _number(text: str, unit: Unit | None) -> NumberAnswer | None:
    if unit is not None:
        value = read_one_quantity(text, unit)
        return None if value is None else NumberAnswer(value=value, unit=unit)
    if units := {written for _, written in written_quantities(text)}:
        first = written_quantities(text)[0][1]
        value = read_one_quantity(text, first)
        return None if value is None or len(units) > 2 else NumberAnswer(value=value, unit=first)
    value = read_one_quantity(text, "count") if _is_number(text) else None
    return NumberAnswer(value=value, unit="count") if value is not None and value.is_integer() else None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[\d.,]*\d", text) is not None


def _choice(cell: Any, text: str, options: Sequence[str], num_options: int, field: str) -> tuple[ChoiceAnswer, str]:
    letters = ascii_uppercase[:num_options]
    if num_options < 2:
        raise RowError(field, cell, "no options: name their column, or list them in the question (A. left)")
    texts = {_plain(option): letter for option, letter in zip(options, letters, strict=False)}
    named = {texts[_plain(text)]} if _plain(text) in texts else set[str]()
    match = _LETTER.fullmatch(text) or _LETTERED.fullmatch(text) or _NAMED_LETTER.fullmatch(text)
    if match and match[1].upper() in letters:
        # A lower-case letter can be the text of an option.
        named |= set() if named and match[1].islower() else {match[1].upper()}
        if match.re is _LETTERED and (other := texts.get(_plain(match[2]))):
            named.add(other)
    elif isinstance(cell, (int, float)) and cell in range(num_options):  # data sets count classes from 0
        named.add(letters[int(cell)])
    if len(named) != 1:
        advice = "names none of the options" if not named else f"names the options {sorted(named)}"
        raise RowError(field, cell, f"{advice}; give the letter of one of {num_options}, its text or its place from 0")
    (letter,) = named
    return ChoiceAnswer(letter=letter, num_options=num_options), letter


def _written(value: float, unit: Unit) -> str:
    number = repr(value).removesuffix(".0")
    if unit == "count":
        return number
    return f"{number} o'clock" if unit == "oclock" else f"{number} {unit}"
