"""The mapping of a table's columns, and finding their cells: by name, or by a path into nested cells."""

import difflib
from collections.abc import Sequence
from typing import Annotated, Any, Self

import orjson
from pydantic import Field, model_validator

from corpora.rows import RowError
from spatial.strict import StrictModel


class UnknownColumnError(ValueError):
    """The mapping names a column that the data set does not have."""


class Columns(StrictModel):
    """The column of each part of a sample; an empty name: the table has none.

    A name may be a path into nested cells: `conversations.0.value` is the value of the first of the conversations.
    """

    question: Annotated[str, Field(min_length=1)]
    """The question's text."""
    answer: Annotated[str, Field(min_length=1)]
    """The answer, or a response with the answer in tags."""
    image: Annotated[str, Field(min_length=1)]
    """An image or a list of images: as `datasets` stores them, as bytes, or as names of files in `images`."""
    options: str = ""
    """The options: a list of texts, or such a list as a string. Without it, or in an empty cell, options are read from
    the question (A. left)."""
    id: str = ""
    """The id: a text or an integer; without it, samples are numbered."""
    kind: str = ""
    """The kind of question; without it, the answer's type."""
    regions: str = ""
    """Regions as in docs/data.md: a list of objects with `mark`, `box_xyxy_px` and, where known, `center_m`, …"""
    boxes: str = ""
    """Instead of `regions`: their boxes, a list (`box_form`, `box_unit`) or an object by mark. A row may have none."""
    marks: str = ""
    """The mark of each box: a colour (red, "red point") or a number. Without it, marks are those next to the question's
    `<mask>` placeholders, otherwise numbers from 1."""
    names: str = ""
    """The name of the object in each box."""
    box_images: str = ""
    """The image of each box, counted from 0; without it, all boxes are on the first image."""
    centers: str = ""
    """The centre of each box, or an object by mark: x, y, z in metres, in the (first) image's camera frame (+x right,
    +y down, +z forward); null: unknown."""
    camera: str = ""
    """The (first) image's camera in pixels: a 3x3 matrix, [fx, fy, cx, cy], or an object with fx, fy, cx, cy."""
    chain_lor: str = ""
    """A whole response of the path LOR, or only its thought, for the cold start."""
    chain_dtr: str = ""
    """A whole response of the path DTR, for the cold start."""

    @model_validator(mode="after")
    def _describes_boxes(self) -> Self:
        if self.regions and self.boxes:
            raise ValueError("regions and boxes: give one of them")
        for purpose in ("marks", "names", "box_images", "centers"):
            if getattr(self, purpose) and not self.boxes:
                raise ValueError(f"{purpose}: needs boxes, whose {purpose} these are")
        return self


def cell_of(row: dict[str, Any], column: str) -> Any:
    """
    Raises:
        RowError: the row has no such column, or the path leads nowhere.
    """
    if column in row:
        return row[column]
    value: Any = row
    for step in column.split("."):
        found = _step(unpacked_cell(value), step)
        if found is None:
            there = sorted(map(str, row)) if value is row else type(value).__name__
            raise RowError(
                column, there, "the row has no such column" if value is row else f"nothing at '{step}' in it"
            )
        (value,) = found
    return value


def optional_cell(row: dict[str, Any], column: str) -> Any:
    """The cell, or None if the mapping or the row has no such column."""
    if not column or (column not in row and column.partition(".")[0] not in row):
        return None
    return cell_of(row, column)


def unpacked_cell(value: Any) -> Any:
    """A cell; if it is JSON as a string, its value."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _step(value: Any, step: str) -> tuple[Any] | None:
    """One step into a cell: by key, by index, or by index in a list of records that is stored by columns."""
    if isinstance(value, dict):
        if step in value:
            return (value[step],)
        if _place(step) is None or not value or not all(isinstance(part, (list, tuple)) for part in value.values()):
            return None
        parts = {key: _step(part, step) for key, part in value.items()}
        return None if None in parts.values() else ({key: part[0] for key, part in parts.items() if part},)
    place = _place(step)
    if isinstance(value, (list, tuple)) and place is not None and -len(value) <= place < len(value):
        return (value[place],)
    return None


def _place(step: str) -> int | None:
    return int(step) if step.removeprefix("-").isdecimal() and step.isascii() else None


def check_columns(columns: Columns, rows: Sequence[dict[str, Any]]) -> None:
    """
    Args:
        rows: the first few; a column that all of them lack does not exist.

    Raises:
        UnknownColumnError: a column of the mapping does not exist.
    """
    for purpose, column in columns:
        if column and rows and not any(_has(row, column) for row in rows):
            raise UnknownColumnError(f"columns.{purpose}={column!r}: {_advice(rows, column)}")


def _has(row: dict[str, Any], column: str) -> bool:
    try:
        cell_of(row, column)
    except RowError:
        return False
    return True


def _advice(rows: Sequence[dict[str, Any]], column: str) -> str:
    """What exists instead, at the first step of a path that leads nowhere."""
    steps = column.split(".")
    for length in range(1, len(steps) + 1):
        path = ".".join(steps[:length])
        if any(_has(row, path) for row in rows):
            continue
        *parents, missing = steps[:length]
        parent = ".".join(parents)
        found = [unpacked_cell(cell_of(row, parent)) for row in rows if _has(row, parent)] if parents else rows
        known = sorted({str(key) for cell in found if isinstance(cell, dict) for key in cell})
        where = f" in {parent}" if parents else ""
        if not known:
            return f"there is no '{missing}'{where}; it holds {', '.join(sorted({_kind(cell) for cell in found}))}"
        nearest = difflib.get_close_matches(missing, known, n=1, cutoff=0.0)
        hint = f"; did you mean '{'.'.join([*parents, nearest[0]])}'?" if nearest else "."
        return f"there is no such column{where}{hint} There are: {', '.join(known)}"
    return "there is no such column"


def _kind(cell: Any) -> str:
    return f"a list of {len(cell)}" if isinstance(cell, (list, tuple)) else f"a {type(cell).__name__}"
