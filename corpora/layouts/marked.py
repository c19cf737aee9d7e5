"""Questions about points and boxes marked by colour, in the form of SPAR-7M, which SR-REAL's RL set uses too.

::

    {"id": "scene0191_00_7", "type": "distance_prediction_oo_mv",
     "image": ["scene0191_00/image_color/0.jpg", "scene0191_00/image_color/40.jpg"],
     "conversations": [{"from": "human", "value": "<image>\\nHow far is the chair (red point) from …?"},
                       {"from": "gpt", "value": "1.3"}],
     "red_point": [[321, 540]], "blue_point": [[702, 455]], "point_img_idx": [[0, 1]]}

Coordinates are thousandths of the image's sides. `…_img_idx` gives the image of each mark, in an order of colours that
depends on the task (`_ORDERS`).

Some tasks use names for their marks. `point_list` marks objectA, object0, object1, … and `bbox_list` object0, object1,
…, in this order: they become regions 1, 2, …. In tasks that end in "_video", object0 to object3 are the colours of
`_ORDERS`. Questions and answers are rewritten with our labels.

Some publishers write `images` for `image`, and put the marks and the task into `spar_info`, JSON as a string
(SPAR-234K).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, AliasChoices, Field

from corpora.rows import Raw, Reader, RowError, counts_in_parts_of_one
from corpora.texts.answers import bare_answer, num_options_in, read_answer
from corpora.texts.placeholders import MARK_KIND
from corpora.texts.sentences import (
    asked_unit,
    asks_how_many,
    asks_yes_or_no,
    is_number_word,
    is_sentence,
    names_a_unit,
    numbers_in,
    read_one_quantity,
    read_yes_or_no,
    written_quantities,
)
from spatial.motions import read_motion
from spatial.places import read_box_2d
from spatial.sample import Answer, Box2DAnswer, ImageRef, Mark, MotionAnswer, NumberAnswer, Region, TextAnswer, Unit

Colour = Literal["red", "blue", "green", "yellow"]
COLOURS: tuple[Colour, ...] = ("red", "blue", "green", "yellow")
_ORDERS: Mapping[str, tuple[Colour, ...]] = {
    "distance_infer_center": ("red", "green", "blue", "yellow"),
    "spatial_imagination": ("green", "blue", "red", "yellow"),
}
"""The colours in the order of `…_img_idx`, by the beginning of a task's name; all other tasks: `COLOURS`."""

TASK_UNITS: Mapping[str, Unit | None] = {"obj_count": "count", "spatial_volume_infer": None, "room_size": None}
"""The unit of bare numbers, for tasks in which it is not the reader's; None: there is no such unit."""

MAX_TURNS = 128
"""A longer conversation is a reject."""
_PLACEHOLDER = re.compile(
    r"(?:\b(?:Frame|Image)[ -]?\d+:\s*)?<(?:image|video)>|(?:(?<![ \t])[ \t]+)?<(?:mask|region|depth)>"
)
_ANSWER_TAG, _QUESTION = "<answer>", "Question:"
# Prompts call every mark a point, whatever its shape.
_MARK_WORDS = re.compile(rf"\b(red|blue|green|yellow)[ _]{MARK_KIND}\b", re.IGNORECASE)
_NAMED = re.compile(r"\b(red|blue|green|yellow)[ _](?:point|bbox|bounding box)\b", re.IGNORECASE)
_OBJECT = re.compile(r"\b[Oo]bject[ _]?(A|[0-9]{1,2})\b")
_LETTER_ALONE = re.compile(r"\(?[A-Z][.):]?")
_MOTION = re.compile(r"\s*(?:move|rotate|yaw|pitch|roll|turn|tilt|pan)_[a-z]+\s*:")
_NO_WORDS = re.compile(r"[\[({\s]*-?\d[\d.]*(?!\w).*|nan|null|n/a|none\b\W*", re.DOTALL | re.IGNORECASE)
"""Numbers, and the ways in which tables write an empty cell."""
_MOVES = re.compile(r"\b(?:mov(?:e|es|ed|ing)|rotat\w+|turn(?:s|ed)?|tilt\w*|pan(?:s|ned)?)\b", re.IGNORECASE)

Share = Annotated[float, Field(ge=0, le=1000)]


def _no_parts_of_one(place: list[float]) -> list[float]:
    """
    Raises:
        ValueError: the place is in fractions of the image's sides, 0 to 1.
    """
    if counts_in_parts_of_one(place):
        raise ValueError("counts in parts of the image's sides, 0 to 1; give thousandths of them")
    return place


_Point = Annotated[list[Share], Field(min_length=2, max_length=2), AfterValidator(_no_parts_of_one)]
_Box = Annotated[list[Share], Field(min_length=4, max_length=4), AfterValidator(_no_parts_of_one)]
Points = list[_Point] | _Point | None
Boxes = list[_Box] | _Box | None
Indices = list[list[int]] | list[int] | None
_PointList = Annotated[list[_Point], Field(min_length=1, max_length=99)]
_BoxList = Annotated[list[_Box], Field(min_length=1, max_length=99)]


class Turn(Raw):
    """One turn of a conversation."""

    speaker: Annotated[str, Field(validation_alias=AliasChoices("from", "role"))]
    text: Annotated[str, Field(validation_alias=AliasChoices("value", "content"))]


class MarkedRow(Raw):
    """The fields that both data sets have in common."""

    id: str | int | None = None
    image: Annotated[list[str] | str, Field(min_length=1, validation_alias=AliasChoices("image", "images"))]
    conversations: Annotated[list[Turn], Field(min_length=2, max_length=MAX_TURNS)]
    type: str | None = Field(None, validation_alias=AliasChoices("type", "task", "qa_type", "question_type"))
    format_type: str | None = Field(None, validation_alias=AliasChoices("format_type", "qa_format"))
    red_point: Points = None
    blue_point: Points = None
    green_point: Points = None
    yellow_point: Points = None
    red_bbox: Boxes = None
    blue_bbox: Boxes = None
    green_bbox: Boxes = None
    yellow_bbox: Boxes = None
    point_list: Annotated[list[_PointList], Field(max_length=1)] | _PointList | None = None
    bbox_list: Annotated[list[_BoxList], Field(max_length=1)] | _BoxList | None = None
    point_img_idx: Indices = None
    bbox_img_idx: Indices = None

    @property
    def task(self) -> str:
        return self.type or "unknown"

    @property
    def order(self) -> tuple[Colour, ...]:
        """The order of the colours in `…_img_idx`."""
        return next((colours for name, colours in _ORDERS.items() if self.task.startswith(name)), COLOURS)

    @property
    def image_names(self) -> list[str]:
        return [self.image] if isinstance(self.image, str) else self.image

    def question_and_answer(self, place: int) -> tuple[str, str]:
        """The row's question number `place` in our wording, and its answer.

        Raises:
            RowError: the turns are not a person's followed by a model's, or one of them is empty.
        """
        field = f"conversations.{2 * place}"
        turns = self.conversations[2 * place : 2 * place + 2]
        speakers = [turn.speaker for turn in turns]
        if speakers not in (["human", "gpt"], ["user", "assistant"]):
            raise RowError(field, speakers, "give a human's turn and then a gpt's")
        question, answer = (self._in_our_words(turn.text) for turn in turns)
        if not question or not answer:
            raise RowError(field, question, "the question or its answer is empty")
        return question, answer

    def _in_our_words(self, text: str) -> str:
        names = _names(self)
        # The question may follow an instruction how to answer, which is dropped: prompts have their own.
        start = text.find(_ANSWER_TAG)
        if 0 <= start < text.rfind(_QUESTION):
            text = text.rpartition(_QUESTION)[2]
        text = _MARK_WORDS.sub(r"\1 point", _PLACEHOLDER.sub("", text)).strip()
        return _OBJECT.sub(lambda match: names.get(match[1], match[0]), text)


class MarkedReader(Reader):
    """Settings that readers of marked questions share."""

    point_radius: Annotated[float, Field(gt=0, le=500)] = 20.0
    """Distance by which a point is widened to a box on each side, in thousandths of the image's sides."""
    max_words: Annotated[int, Field(ge=1)] = 6
    """Most words of an answer that is a text; a longer one is rejected, because no reward can compare it."""
    keep_sentences: bool = False
    """Keep sentences that state neither yes or no nor one quantity, as texts for a cold start (in RL no answer would
    equal them)."""


_PACKED = ("conversations", "spar_info", "image", "images", "3d_pos", "bbox", "mask_idx", "image_hw", "rle")
_MARK_FIELD = re.compile(r"(?:red|blue|green|yellow)_(?:point|bbox)|(?:point|bbox)_(?:list|img_idx)")


def unpacked(row: Any) -> Any:
    """A row with its JSON strings parsed and the content of `spar_info` merged; a `RowError` if a string is broken."""
    if not isinstance(row, dict):
        return row
    found = dict(row)
    for key, value in row.items():
        if isinstance(value, str) and value.lstrip()[:1] in "[{" and (key in _PACKED or _MARK_FIELD.fullmatch(key)):
            try:
                found[key] = orjson.loads(value)
            except orjson.JSONDecodeError as error:
                return RowError(key, value, f"no JSON: {error}")
    inner = found.pop("spar_info", None)
    if inner is None:
        return found
    if not isinstance(inner, dict):
        return RowError("spar_info", inner, "give an object, or the text of one: the marks and the type of the task")
    return {**unpacked(inner), **{key: value for key, value in found.items() if value is not None}}


def num_questions(row: Any) -> int:
    """The number of questions in a row; 1 if it is malformed, so that it is reported once."""
    turns = row.get("conversations") if isinstance(row, dict) else None
    return (len(turns) + 1) // 2 if isinstance(turns, list) and 2 <= len(turns) <= MAX_TURNS else 1


def regions_of(row: MarkedRow, config: MarkedReader, question: str, images: Sequence[ImageRef]) -> tuple[Region, ...]:
    """The regions of a row: by colour, then by number. Points are widened to boxes, clipped at the image's border.

    Raises:
        RowError: a mark is on an image that does not exist, a colour marks several things, or the question names none
            of the listed marks.
    """
    regions: dict[Mark, Region] = {}
    for kind, indices in (("point", row.point_img_idx), ("bbox", row.bbox_img_idx)):
        marks = _marks(row, kind)
        for (mark, coordinates), index in zip(marks.items(), _places(indices, len(marks), kind, row.task), strict=True):
            if index >= len(images):
                raise RowError(f"{kind}_img_idx", index, f"the row has {len(images)} images")
            if mark in regions:
                raise RowError(f"{mark}_{kind}", coordinates, "marks a point and a box; a mark stands for one thing")
            regions[mark] = _region(mark, coordinates, index, images[index], config)
    numbered = [regions[mark] for mark in regions if mark.isdigit()]
    if numbered and not any(re.search(rf"\b{region.label}\b", question) for region in numbered):
        raise RowError("conversations", question, "the question names none of the listed marks (object0, object1, …)")
    return tuple(regions[mark] for mark in (*COLOURS, *(region.mark for region in numbered)) if mark in regions)


def check_named(row: MarkedRow, place: int, regions: Sequence[Region]) -> None:
    """
    Raises:
        RowError: the question at `place` names a mark that the row does not have.
    """
    field, text = f"conversations.{2 * place}.value", row.conversations[2 * place].text
    marked = {region.mark for region in regions}
    if missing := [colour for colour in map(str.lower, _NAMED.findall(text)) if colour not in marked]:
        advice = f"speaks of the {missing[0]} point, but the row has neither {missing[0]}_point nor {missing[0]}_bbox"
        raise RowError(field, text, advice)


def _marks(row: MarkedRow, kind: str) -> dict[Mark, list[float]]:
    """The marks of a kind, in the order of `…_img_idx`."""
    listed = getattr(row, f"{kind}_list")
    if listed:
        nested = listed[0] if isinstance(listed[0][0], list) else listed
        return {str(place): mark for place, mark in enumerate(nested, start=1)}
    fields = {colour: getattr(row, f"{colour}_{kind}") for colour in row.order}
    return {colour: _one(marks, f"{colour}_{kind}") for colour, marks in fields.items() if marks}


def _places(indices: Indices, number: int, kind: str, task: str) -> list[int]:
    """The image of each mark; the first one if the row does not say."""
    flat = [] if not indices else indices[0] if isinstance(indices[0], list) else indices
    if task.startswith("obj_spatial_relation_oc") and flat:
        flat = flat[:1] * number  # all marks are on one image
    if not flat:
        return [0] * number
    if len(flat) < number or min(flat[:number], default=0) < 0:
        raise RowError(f"{kind}_img_idx", indices, f"give the image of each of {number} marks, counted from 0")
    return flat[:number]


def _one(marks: Any, field: str) -> list[float]:
    nested = marks if isinstance(marks[0], list) else [marks]
    if len(nested) != 1:
        raise RowError(field, marks, "a colour marks one thing")
    return nested[0]


def _region(mark: Mark, coordinates: list[float], index: int, image: ImageRef, config: MarkedReader) -> Region:
    x_px, y_px = image.width_px / 1000, image.height_px / 1000
    if len(coordinates) == 4:
        left, top, right, bottom = coordinates
    else:
        (x, y), radius = coordinates, config.point_radius
        left, right = max(0.0, x - radius), min(1000.0, x + radius)
        top, bottom = max(0.0, y - radius), min(1000.0, y + radius)
    return Region(mark=mark, image_index=index, box_xyxy_px=(left * x_px, top * y_px, right * x_px, bottom * y_px))


def _names(row: MarkedRow) -> dict[str, str]:
    """Our labels, by what follows "object" in a row's own names of the same marks."""
    if row.point_list:
        return {name: f"region {place}" for place, name in enumerate(("A", *map(str, range(98))), start=1)}
    if row.bbox_list:
        return {str(place): f"region {place + 1}" for place in range(99)}
    if row.task.endswith("_video"):
        return {str(place): f"{colour} point" for place, colour in enumerate(row.order)}
    return {}


def answer_of(text: str, question: str, unit: Unit | None, config: MarkedReader) -> Answer:
    """An answer by its form: a letter of the options, moves of the camera, a box, yes or no, a number, words.

    Args:
        unit: the unit of a bare number if the question names none; an answer's own unit is converted to it. None: the
            numbers have a unit that is not known here.

    Raises:
        RowError: it is a sentence that states none of these, several numbers, or a letter of no option.
    """
    text = bare_answer(text, "answer")
    num_options = num_options_in(question)
    if num_options >= 2:
        return read_answer(text, "choice", None, (), num_options, "answer")[0]
    if _LETTER_ALONE.fullmatch(text):
        raise RowError("answer", text, "a letter, but the question lists no options (A. left)")
    if _MOTION.match(text):
        if moves := dict(read_motion(text)):
            return MotionAnswer(moves=moves)
        raise RowError("answer", text, "no camera motion: give move_right:0.4,rotate_up:5,… with each move once")
    if box := read_box_2d(text):
        left, top, right, bottom = box
        if left >= right or top >= bottom:
            raise RowError("answer", text, "no box: give left, top, right and bottom")
        return Box2DAnswer(box_xyxy=(left, top, right, bottom))
    if _MOVES.search(text) and len(written_quantities(text)) > 1:
        raise RowError(
            "answer", text, "several moves in a sentence; give move_right:0.4,rotate_up:5,… with each move once"
        )
    said = read_yes_or_no(text, question)
    if said and asks_yes_or_no(question):
        return TextAnswer(text=said)
    if unit is not None:
        unit = asked_unit(question) or ("count" if asks_how_many(question) else unit)
        if (value := read_one_quantity(text, unit)) is not None:
            return NumberAnswer(value=value, unit=unit)
    if said:
        return TextAnswer(text=said)
    return _words(text, unit, config)


def _words(text: str, unit: Unit | None, config: MarkedReader) -> TextAnswer:
    """An answer that is words and nothing else."""
    if config.keep_sentences and is_sentence(text):
        return TextAnswer(text=text)
    if numbers := numbers_in(text):
        if unit is None:
            raise RowError("answer", text, "an area or a volume; no reward can score its unit")
        what = "several numbers" if len(numbers) > 1 else f"no number in {unit}"
        raise RowError("answer", text, f"{what}; give one quantity, with its unit or bare")
    if _NO_WORDS.fullmatch(text) or is_number_word(text):
        raise RowError(
            "answer", text, "neither one number nor words; give one quantity in digits, yes or no, or a name"
        )
    if unit not in (None, "count") and names_a_unit(text):
        raise RowError("answer", text, f"names a unit, but no number that can be read in {unit}")
    if is_sentence(text):
        raise RowError(
            "answer", text, "a sentence, which no reward can compare; keep_sentences=true keeps it for a cold start"
        )
    if len(text.split()) > config.max_words:
        raise RowError("answer", text, f"more than {config.max_words} words (max_words), which no reward can compare")
    return TextAnswer(text=text.rstrip(".") or text)
