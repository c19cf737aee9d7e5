"""Answers as people write them in tables: a letter, an option's text, a number with or without its unit, words."""

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any, Literal

from corpora.rows import RowError
from rewards.numbers import read_quantity
from spatial.sample import Answer, ChoiceAnswer, NumberAnswer, TextAnswer, Unit

AnswerType = Literal["auto", "choice", "number", "text"]
_ASK_FOR_LETTER = "Answer with the letter of the right option."
_LETTER = re.compile(r"\(?([A-Z])[.):]?")
_LETTERED = re.compile(r"\(?([A-Z])[.):]\s+(\S.*)", re.DOTALL)
_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL | re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?([^{}]*)\}?\}")
_OPTION_IN_TEXT = re.compile(r"(?:^|[\s(])([A-Z])[.):](?=\s)")


def bare_answer(text: str, field: str) -> str:
    """What stands within the answer tags of a response, or in a box of LaTeX; the whole text where there is neither.

    Raises:
        RowError: there are several such answers, which differ.
    """
    found = {match[1].strip() for match in _TAGGED.finditer(text)} or {
        match[1].strip() for match in _BOXED.finditer(text)
    }
    if len(found) > 1:
        raise RowError(field, text, "several answers in tags, which differ; give one")
    return (found.pop() if found else text).strip()


def read_options(cell: Any, field: str) -> tuple[str, ...]:
    """The texts of options from a list, or from a mapping of letters, without letters of their own ("A. left").

    Raises:
        RowError: it is neither, there are fewer than 2 or more than 26, or two are the same.
    """
    if isinstance(cell, dict) and list(cell) == list(ascii_uppercase[: len(cell)]):
        cell = list(cell.values())
    if not isinstance(cell, (list, tuple)) or not all(isinstance(option, str) and option.strip() for option in cell):
        raise RowError(field, cell, "give a list of texts")
    options = tuple(option.strip() for option in cell)
    lettered = [_LETTERED.fullmatch(option) for option in options]
    if all(match and match[1] == letter for match, letter in zip(lettered, ascii_uppercase, strict=False)):
        options = tuple(match[2] for match in lettered if match)
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise RowError(field, len(options), "give 2 to 26 options")
    if len(set(options)) < len(options):
        raise RowError(field, cell, "two options are the same; one letter must be right")
    return options


def with_options(question: str, options: Sequence[str]) -> str:
    """A question with its options, one a line after its letter, and the wish for a letter."""
    lines = (f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
    return "\n".join([question, *lines, _ASK_FOR_LETTER]) if options else question


def num_options_in(question: str) -> int:
    """How many options a question's own text lists: "A. left", "(B) right", …"""
    found = set(_OPTION_IN_TEXT.findall(question))
    return next((n for n, letter in enumerate(ascii_uppercase) if letter not in found), len(ascii_uppercase))


def read_answer(
    cell: Any, kind: AnswerType, unit: Unit | None, options: Sequence[str], num_options: int, field: str
) -> tuple[Answer, str]:
    """An answer, and how it is written.

    "auto": a choice where there are options; else a number where it can be read as one in `unit` (without `unit`, a
    whole number is a count); else a text.

    Args:
        options: the texts of options, where they are known.
        num_options: how many there are, known or not.

    Raises:
        RowError: it is no such answer.
    """
    if cell is None or isinstance(cell, bool) or not isinstance(cell, (str, int, float)) or not str(cell).strip():
        raise RowError(field, cell, "give a text, a number or a letter")
    text = str(cell).strip()
    if kind == "choice" or (kind == "auto" and num_options >= 2):
        return _choice(cell, text, options, num_options, field)
    if kind == "number" or (kind == "auto" and (unit is not None or text.isdigit())):
        value = read_quantity(text, unit or "count")
        if value is not None:
            return NumberAnswer(value=value, unit=unit or "count"), _written(value, unit or "count")
        if kind == "number":
            raise RowError(field, cell, f"cannot be read as a number in {unit or 'count'}")
    return TextAnswer(text=text), text


def _choice(cell: Any, text: str, options: Sequence[str], num_options: int, field: str) -> tuple[ChoiceAnswer, str]:
    letters = ascii_uppercase[:num_options]
    if num_options < 2:
        raise RowError(field, cell, "no options: name their column, or list them in the question (A. left)")
    named: set[str] = {letters[index] for index, option in enumerate(options) if option.casefold() == text.casefold()}
    match = _LETTER.fullmatch(text) or _LETTERED.fullmatch(text)
    if match and match[1] in letters:
        named.add(match[1])
    elif isinstance(cell, int) and 0 <= cell < num_options:  # as data sets count classes
        named.add(letters[cell])
    if len(named) != 1:
        advice = "names none of the options" if not named else f"names the options {sorted(named)}"
        raise RowError(field, cell, f"{advice}; give the letter of one of {num_options}, its text or its place from 0")
    letter = named.pop()
    return ChoiceAnswer(letter=letter, num_options=num_options), letter


def _written(value: float, unit: Unit) -> str:
    number = repr(value).removesuffix(".0")
    if unit == "count":
        return number
    return f"{number} o'clock" if unit == "oclock" else f"{number} {unit}"
