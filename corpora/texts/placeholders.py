"""The region that each `<mask>` of a text stands for, and the text with the regions' labels instead.

A placeholder next to the words for a mark ("red point <mask>") stands for that mark; all others are regions by number,
in order: "Is <mask> taller than <mask>?" asks about region 1 and region 2.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from corpora.rows import RowError
from spatial.sample import Mark

MARK_KIND = r"(?:point|bounding box|bbox|box|mask|circle|dot)"
_COLOURS = ("red", "blue", "green", "yellow")
_COLOUR = rf"\b({'|'.join(_COLOURS)})[ _]({MARK_KIND})"
# "the red box <mask>" can mean a box that is red; these words always mean a mark.
_MARKS_ALONE = ("point", "bbox", "bounding box")
# Spaces match from the first one on; otherwise each of many would be tried.
_PLACE = re.compile(r"(?:(?<![ \t])[ \t]+)?(?:<mask>(?:\s{0,2}<depth>)?|<region>)")
_COLOUR_BEFORE = re.compile(rf"{_COLOUR}[\s()\[\],:]{{0,3}}$", re.IGNORECASE)
_COLOUR_AFTER = re.compile(rf"[\s()\[\],:]{{0,3}}{_COLOUR}(?![\s()]{{0,3}}<(?:mask|region)>)", re.IGNORECASE)
_COLOUR_WORDS = re.compile(_COLOUR, re.IGNORECASE)
_KIND_BEFORE = re.compile(rf"\b{MARK_KIND}$", re.IGNORECASE)
_REGION_BEFORE = re.compile(r"\bregion \[\d+\]$", re.IGNORECASE)
_REGION = re.compile(r"\bregion \[(\d{1,3})\]", re.IGNORECASE)


_MAX_PLACES = 99
_MAX_WORDS_CHARS = 40
"""The words for a mark are shorter than this."""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with labels instead of placeholders, and the mark of each placeholder in order."""

    texts: tuple[str, ...]
    marks: tuple[Mark, ...]


def label(
    texts: Sequence[str],
    coloured: Sequence[Mark],
    num_boxes: int,
    field: str = "conversations",
    box_field: str = "bbox",
) -> LabelledTexts:
    """
    Args:
        texts: those of a person and of a model, alternately.
        coloured: the marks by colour that the row has.
        num_boxes: number of boxes for the placeholders of all texts.
        field, box_field: the names that errors use.

    Raises:
        RowError: the numbers of placeholders and boxes differ, or it is unclear which mark a placeholder stands for.
    """
    num_places = sum(len(_PLACE.findall(text)) for text in texts)
    if num_places > _MAX_PLACES:
        raise RowError(field, num_places, f"more than {_MAX_PLACES} placeholders")
    if num_places == 0:
        return LabelledTexts(tuple(texts), _by_mention(texts[::2], coloured, num_boxes, box_field))
    if num_boxes not in (0, num_places):
        raise RowError(field, num_places, f"there are {num_boxes} boxes; give a <mask> for each")
    num_plain = sum(_colour_at(text, place, coloured) is None for text in texts for place in _PLACE.finditer(text))
    labeller = _Labeller(coloured, num_plain, field)
    labelled = tuple(map(labeller.label, texts))
    marks = tuple(labeller.marks)
    if num_boxes == 0 and (missing := [mark for mark in marks if mark not in coloured]):
        raise RowError(box_field, missing[0], f"the text has {num_places} <mask>; give a box for each")
    if any(mark.isdigit() for mark in marks):
        labelled = tuple(_REGION.sub(lambda match: f"region {int(match[1]) + 1}", text) for text in labelled)
    return LabelledTexts(labelled, marks)


def insert(text: str, labels: Sequence[str], field: str) -> str:
    """A text with `labels` instead of its placeholders, in order; unchanged if it has none.

    Raises:
        RowError: the numbers of placeholders and labels differ.
    """
    places = list(_PLACE.finditer(text))
    if len(places) not in (0, len(labels)):
        raise RowError(field, len(places), f"there are {len(labels)} regions; give a <mask> for each")
    written, end = "", 0
    for place, name in zip(places, labels, strict=False):
        written, end = written + text[end : place.start()], place.end()
        if not written.rstrip(" ([").lower().endswith(name):  # "red point <mask>"
            written += name if not written or written[-1].isspace() or written[-1] in "([" else f" {name}"
    return written + text[end:]


class _Labeller:
    def __init__(self, coloured: Sequence[Mark], num_plain: int, field: str) -> None:
        self.marks: list[Mark] = []
        self._coloured = coloured
        # The only mark of a row needs no colour: "Where is the object in the bbox <mask>?"
        self._only = coloured[0] if len(coloured) == 1 and num_plain == 1 else None
        self._num_numbered = 0
        if coloured and num_plain and self._only is None:
            advice = (
                "<mask> without a colour, in a row with marks by colour; write it after its mark (red point <mask>)"
            )
            raise RowError(field, num_plain, advice)

    def label(self, text: str) -> str:
        written, end = "", 0
        for place in _PLACE.finditer(text):
            written, end = written + text[end : place.start()], place.end()
            colour = _colour_at(text, place, self._coloured)
            if colour is not None:
                self.marks.append(colour)
                continue
            if self._only is None:
                self._num_numbered += 1
            mark = self._only or str(self._num_numbered)
            self.marks.append(mark)
            words = f"{mark} point" if self._only else f"region {mark}"
            written = (_KIND_BEFORE if self._only else _REGION_BEFORE).sub("", written)
            written += words if not written or written[-1].isspace() or written[-1] in "([" else f" {words}"
        return written + text[end:]


def _colour_at(text: str, place: re.Match[str], coloured: Sequence[Mark]) -> Mark | None:
    """The colour of the mark that the words next to a placeholder name."""
    before = text[max(0, place.start() - _MAX_WORDS_CHARS) : place.start()]
    found = _COLOUR_BEFORE.search(before) or _COLOUR_AFTER.match(text[place.end() :])
    if found is None or (found[1].lower() not in coloured and found[2].lower() not in _MARKS_ALONE):
        return None
    return found[1].lower()


def _by_mention(texts: Sequence[str], coloured: Sequence[Mark], num_boxes: int, field: str) -> tuple[Mark, ...]:
    """The marks of boxes in a text without placeholders: those that it names, in order; otherwise numbers."""
    if not num_boxes:
        return ()
    named = [match[1].lower() for text in texts for match in _COLOUR_WORDS.finditer(text)]
    if not named and not coloured:
        return tuple(str(number + 1) for number in range(num_boxes))
    once = tuple(dict.fromkeys(named))
    if num_boxes == len(named):
        return tuple(named)
    if num_boxes != len(once):
        advice = f"the question names {len(once)} marks; give a box for each, or write <mask> after those that have one"
        raise RowError(field, num_boxes, advice)
    return once
