"""The scene in a table: regions with their centres, the camera, and whole responses for the cold start."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from corpora.geometry.cameras import Matrix, camera_of
from corpora.layouts.columns import Columns, optional_cell, unpacked_cell
from corpora.rows import Raw, RowError, checked, counts_in_parts_of_one
from corpora.texts.placeholders import MARK_KIND, insert, label
from spatial.grammar import format_response, parse_response
from spatial.sample import COLOURS, Camera, ImageRef, ReasoningPath, Region

BoxForm = Literal["xyxy", "xywh"]
BoxUnit = Literal["pixels", "thousandths", "shares"]
_LABEL = re.compile(rf"(?:region[ _]?)?([1-9][0-9]?)|({'|'.join(COLOURS)})(?:[ _]{MARK_KIND})?", re.IGNORECASE)
_MARK_WORDS = re.compile(rf"\b(red|blue|green|yellow)[ _]{MARK_KIND}\b", re.IGNORECASE)


class _Box(Raw):
    box: Annotated[list[float], Field(min_length=4, max_length=4)]


class _Center(Raw):
    center: Annotated[list[float], Field(min_length=3, max_length=3)]


class _Pinhole(Raw):
    fx: float
    fy: float
    cx: float
    cy: float


class _Matrix(Raw):
    matrix: Matrix


def regions_of(
    row: dict[str, Any], columns: Columns, question: str, images: Sequence[ImageRef], form: BoxForm, unit: BoxUnit
) -> tuple[str, tuple[Region, ...]]:
    """The question with the regions' labels in it, and the regions.

    Raises:
        RowError: a cell cannot be read, lists differ in length, or the question names none of the regions.
    """
    if columns.regions:
        regions = _own(unpacked_cell(optional_cell(row, columns.regions)), columns.regions)
        asked = insert(question, [region.label for region in regions], columns.question)
    else:
        asked, regions = _from_boxes(row, columns, question, images, form, unit)
    asked = _MARK_WORDS.sub(lambda match: f"{match[1].lower()} point", asked)
    if regions and not any(re.search(rf"\b{region.label}\b", asked, re.IGNORECASE) for region in regions):
        labels = [region.label for region in regions]
        advice = f"the question names none of the regions: write {labels}, or <mask> where each is spoken of"
        raise RowError(columns.question, question, advice)
    return asked, regions


def _own(cell: Any, column: str) -> tuple[Region, ...]:
    """Regions in this project's own format."""
    if cell is not None and not isinstance(cell, (list, tuple)):
        raise RowError(column, cell, "give a list of regions (docs/data.md)")
    regions = []
    for place, given in enumerate(cell or ()):
        if not isinstance(given, dict):
            raise RowError(f"{column}.{place}", given, "give an object with mark and box_xyxy_px")
        known = {key: _tupled(value) for key, value in given.items() if value is not None}
        try:
            regions.append(Region.model_validate(known))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join([column, str(place), *map(str, first["loc"])])
            raise RowError(where, first["input"] if first["loc"] else "…", first["msg"]) from error
    return tuple(regions)


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, (list, tuple)) else value


def _from_boxes(
    row: dict[str, Any], columns: Columns, question: str, images: Sequence[ImageRef], form: BoxForm, unit: BoxUnit
) -> tuple[str, tuple[Region, ...]]:
    cell = unpacked_cell(optional_cell(row, columns.boxes))
    given = optional_cell(row, columns.marks)
    if isinstance(cell, Mapping):
        cell = {key: box for key, box in cell.items() if box is not None}
        given, cell = list(cell), list(cell.values())
    boxes = (
        [cell] if isinstance(cell, (list, tuple)) and cell and not isinstance(cell[0], (list, tuple)) else cell or []
    )
    if not isinstance(boxes, (list, tuple)):
        raise RowError(columns.boxes, cell, "give a list of boxes, each of four numbers")
    if given is None:
        labelled = label([question], (), len(boxes), columns.question, columns.boxes)
        (asked,), marks = labelled.texts, labelled.marks
    else:
        marks = tuple(
            _mark(mark, columns.marks or columns.boxes) for mark in _aligned(given, len(boxes), columns.marks)
        )
        asked = insert(question, [_label(mark) for mark in marks], columns.question)
    names = _aligned(optional_cell(row, columns.names), len(boxes), columns.names)
    indices = _aligned(optional_cell(row, columns.box_images), len(boxes), columns.box_images)
    centers = _centers(optional_cell(row, columns.centers), marks, columns.centers)
    regions: dict[str, Region] = {}
    for place, (mark, box) in enumerate(zip(marks, boxes, strict=True)):
        index = indices[place] or 0
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(images):
            raise RowError(f"{columns.box_images}.{place}", index, f"the row has {len(images)} images, counted from 0")
        name = names[place] or ""
        if not isinstance(name, str):
            raise RowError(f"{columns.names}.{place}", name, "give a text")
        region = _region(mark, box, f"{columns.boxes}.{place}", images[index], index, form, unit)
        region = region.replace(name=name.strip(), center_m=centers.get(mark))
        if regions.setdefault(mark, region) != region:
            raise RowError(f"{columns.boxes}.{place}", box, f"a second box for {mark}, at another place")
    return asked, tuple(regions.values())


def _region(mark: str, box: Any, field: str, image: ImageRef, index: int, form: BoxForm, unit: BoxUnit) -> Region:
    left, top, right, bottom = checked(_Box, {"box": list(box) if isinstance(box, tuple) else box}, field).box
    if unit != "shares" and counts_in_parts_of_one((left, top, right, bottom)):
        raise RowError(field, box, f"is less than a pixel, counted in {unit}: set box_unit=shares")
    if form == "xywh":
        right, bottom = left + right, top + bottom
    whole = {"pixels": None, "thousandths": 1000.0, "shares": 1.0}[unit]
    if whole is not None:
        left, right = (x * image.width_px / whole for x in (left, right))
        top, bottom = (y * image.height_px / whole for y in (top, bottom))
    if not (0 <= left < right <= image.width_px and 0 <= top < bottom <= image.height_px):
        size = f"{image.width_px}x{image.height_px} px"
        raise RowError(field, box, f"no box within its image of {size}; look at box_form={form} and box_unit={unit}")
    return Region(mark=mark, image_index=index, box_xyxy_px=(left, top, right, bottom))


def _aligned(cell: Any, number: int, column: str) -> list[Any]:
    """A list with an entry for each box; the entries are None if the cell is empty."""
    cell = unpacked_cell(cell)
    if cell is None:
        return [None] * number
    entries = list(cell) if isinstance(cell, (list, tuple)) else [cell]
    if len(entries) != number:
        raise RowError(column, len(entries), f"give one for each of {number} boxes")
    return entries


def _centers(cell: Any, marks: Sequence[str], column: str) -> dict[str, tuple[float, float, float]]:
    cell = unpacked_cell(cell)
    if isinstance(cell, Mapping):
        entries = [(_mark(key, column), center) for key, center in cell.items()]
        if unknown := [mark for mark, center in entries if mark not in marks and center is not None]:
            raise RowError(column, unknown[0], f"no box has this mark; marks are {list(marks)}")
    else:
        if isinstance(cell, (list, tuple)) and len(cell) == 3 and not any(isinstance(at, (list, tuple)) for at in cell):
            cell = [cell]
        entries = list(zip(marks, _aligned(cell, len(marks), column), strict=True))
    centers = {}
    for mark, center in entries:
        if center is not None:
            x, y, z = checked(_Center, {"center": list(center) if isinstance(center, tuple) else center}, column).center
            centers[mark] = (x, y, z)
    return centers


def _mark(given: Any, column: str) -> str:
    """The mark that "red", "red point", "region 2" or 2 means."""
    match = _LABEL.fullmatch(str(given).strip())
    if match is None or isinstance(given, bool):
        raise RowError(column, given, "no mark: give a colour (red) or a number from 1 to 99")
    return match[1] or match[2].lower()


def _label(mark: str) -> str:
    return f"region {mark}" if mark.isdigit() else f"{mark} point"


def read_camera(cell: Any, column: str, images: Sequence[ImageRef]) -> Camera | None:
    """The camera of the first image; None: the cell is empty.

    Raises:
        RowError: it is not a camera, or belongs to an image of another size.
    """
    cell = unpacked_cell(cell)
    if cell is None or not images:
        return None
    image = images[0]
    if isinstance(cell, Mapping):
        cell = {str(key).removesuffix("_px"): value for key, value in cell.items()}
    elif isinstance(cell, (list, tuple)) and len(cell) == 4 and not isinstance(cell[0], (list, tuple)):
        cell = dict(zip(("fx", "fy", "cx", "cy"), cell, strict=True))
    if isinstance(cell, Mapping):
        found = checked(_Pinhole, cell, column)
        matrix = [[found.fx, 0.0, found.cx], [0.0, found.fy, found.cy], [0.0, 0.0, 1.0]]
    else:
        if isinstance(cell, (list, tuple)) and len(cell) == 9:
            cell = [list(cell[start : start + 3]) for start in (0, 3, 6)]
        matrix = checked(_Matrix, {"matrix": cell}, column).matrix
    camera = camera_of(matrix, column)
    if counts_in_parts_of_one((camera.cx_px, camera.cy_px)):
        raise RowError(column, [camera.cx_px, camera.cy_px], "counts in parts of the image's sides; give pixels")
    if not (0 < camera.cx_px < image.width_px and 0 < camera.cy_px < image.height_px):
        advice = f"its middle lies outside the image of {image.width_px}x{image.height_px} px; give this image's camera"
        raise RowError(column, f"{camera.cx_px:g}, {camera.cy_px:g}", advice)
    return camera


def read_chain(cell: Any, path: ReasoningPath, column: str, written: str) -> str:
    """A whole response of `path`; a LOR thought is completed with the answer as `written`. An empty cell gives "".

    Raises:
        RowError: it is neither a response nor a thought.
    """
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return ""
    if not isinstance(cell, str):
        raise RowError(column, cell, "give a text")
    text = cell.strip()
    if path is ReasoningPath.LOR and "<" not in text:
        return format_response(path, think=text, answer=written)
    if not parse_response(path, text).well_formed:
        wanted = "<think>…</think><answer>…</answer>"
        wanted = (
            wanted
            if path is ReasoningPath.LOR
            else f"<detect>…</detect>{wanted} (the detect block as in spatial/grammar)"
        )
        raise RowError(column, text, f"no whole response of the path {path.value}: give {wanted}")
    return text
