"""The grammar of the paths: how responses are written and read.

::

    LOR  <think>…</think><answer>…</answer>
    DTR  <detect>…</detect><think>…</think><answer>…</answer>
    DIRECT                                 <answer>…</answer>

    inside <detect>:   Find 2 relevant objects:
                       <3d_box center="0.02,1.06,2.03">cabinet (red point)</3d_box>
                       <3d_box center="-0.71,0.88,3.40" size="0.50,0.90,0.50" yaw="30.00">chair (blue point)</3d_box>

The reader is strict, because rewards depend on it: whatever it lets pass, a policy learns to write.

- Tags are exactly these characters, in lower case. All six tags are reserved on every path: a response that quotes one
  of them in its thinking or its answer has that tag one time too many.
- A section is read when each of its two tags occurs exactly once in the text, in order, with no other tag between them,
  whatever the rest of the text looks like. White space just inside the tags is ignored. A section may be empty.
- A response is well formed when it consists of the sections of its path, in order, and white space, and (DTR) its
  detect block follows the grammar above: the header, then exactly the number of boxes it gives, each on its own line.
- A box counts as a prediction when its numbers are readable, even if the block around it is malformed.

Reading takes a fixed number of scans, each linear in the text: no pattern backtracks.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from spatial.sample import ReasoningPath, Vector3

DETECT_OPEN, DETECT_CLOSE = "<detect>", "</detect>"
THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
TAGS = (DETECT_OPEN, DETECT_CLOSE, THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)

MAX_BOXES = 64
"""A detect block with more boxes than this is malformed, and none of them is a prediction.
This bounds the cubic cost of matching predictions to the truth."""

# Possessive quantifiers (`*+`) never give characters back, so a failed match costs no second scan.
_NUMBER = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_COUNT = "0|[1-9][0-9]{0,3}"
_HEADER = re.compile(
    rf"(?:Find|After aligning to the reference frame (?P<frame>{_COUNT}), find) (?P<count>{_COUNT}) relevant objects:"
)
_BOX = re.compile(
    r'<3d_box center="(?P<center>[^"<>\n]*+)"'
    r'(?: size="(?P<size>[^"<>\n]*+)" yaw="(?P<yaw>[^"<>\n]*+)")?>'
    r"(?P<name>[^<>\n]*+)</3d_box>"
)


@dataclass(frozen=True, slots=True)
class Box3D:
    """An object in 3D: its centre, and where known its size and heading, in the camera frame (+x right, +y down, +z
    forward) of the only image, or of the block's reference frame."""

    center_m: Vector3
    name: str
    """As written, without outer white space: "cabinet (red point)"."""
    size_m: Vector3 | None = None
    """Width, height, length; each above 0."""
    yaw_deg: float | None = None


@dataclass(frozen=True, slots=True)
class BoxText:
    """A box as it is written, before its numbers are read."""

    center: str
    name: str
    size: str | None
    yaw: str | None
    start: int
    end: int
    """Where it starts and ends in the detect section's inside."""


@dataclass(frozen=True, slots=True)
class ParsedResponse:
    """What could be read from a response. A section is None if the path has none or it is not unambiguous."""

    well_formed: bool
    """The whole response matches the grammar of its path."""
    is_whole: bool
    """The sections of its path, in order, make up the whole response, whatever the detect section says."""
    detect: str | None
    think: str | None
    answer: str | None
    boxes: tuple[Box3D, ...]
    """The readable boxes of the detect section, in order; at most `MAX_BOXES`."""
    reference_frame: int | None
    """The number of the frame that the detect section's header names; None if it names none."""


def format_box(box: Box3D) -> str:
    """`box` as a line of a detect block, numbers with two decimals.

    Raises:
        ValueError: a number is not finite, size and yaw are not given together, or the name holds `<`, `>` or a line
            break, which could not be read back.
    """
    if any(sign in box.name for sign in "<>\n"):
        raise ValueError(f"box name {box.name!r} holds '<', '>' or a line break")
    if (box.size_m is None) != (box.yaw_deg is None):
        raise ValueError(f"box {box.name!r}: size_m and yaw_deg come together")
    extent = "" if box.yaw_deg is None else f' size="{decimals(*(box.size_m or ()))}" yaw="{decimals(box.yaw_deg)}"'
    return f'<3d_box center="{decimals(*box.center_m)}"{extent}>{box.name.strip()}</3d_box>'


def format_detect_block(centers_m: Sequence[Vector3], names: Sequence[str], frame: int | None = None) -> str:
    """The inside of a detect section, without its tags: the header, then one line for each centre.

    `frame` numbers the reference frame when there are several images; the centres are then in that frame.

    Raises:
        ValueError: there are not as many names as centres, or one of them cannot be written (see `format_box`).
    """
    find = "Find" if frame is None else f"After aligning to the reference frame {frame}, find"
    lines = [format_box(Box3D(center, name)) for center, name in zip(centers_m, names, strict=True)]
    return "\n".join([f"{find} {len(lines)} relevant objects:", *lines])


def format_response(path: ReasoningPath, *, answer: str, think: str | None = None, detect: str | None = None) -> str:
    """A whole response of `path`. `detect` and `think` are the insides of its sections, where the path has them.

    Raises:
        ValueError: a section of the path is missing, one is given that the path does not have, or a text quotes a tag.
    """
    if (path is ReasoningPath.DTR) != (detect is not None):
        raise ValueError(f"path {path.value}: DTR needs a detect section, and no other path may have one")
    if (path is ReasoningPath.DIRECT) != (think is None):
        raise ValueError(f"path {path.value}: every path but DIRECT needs a think section, and DIRECT may have none")
    for text in (detect or "", think or "", answer):
        if any(tag in text for tag in TAGS):
            raise ValueError(f"a section quotes a tag: {text[:80]!r}")
    detection = "" if detect is None else f"{DETECT_OPEN}{detect}{DETECT_CLOSE}"
    thought = "" if think is None else f"{THINK_OPEN}{think}{THINK_CLOSE}"
    return f"{detection}{thought}{ANSWER_OPEN}{answer}{ANSWER_CLOSE}"


def parse_response(path: ReasoningPath, text: str) -> ParsedResponse:
    """Read `text` as a response of `path`. Never raises, whatever the text; time is linear in its length."""
    detect = _find_section(text, DETECT_OPEN, DETECT_CLOSE) if path is ReasoningPath.DTR else None
    think = None if path is ReasoningPath.DIRECT else _find_section(text, THINK_OPEN, THINK_CLOSE)
    answer = _find_section(text, ANSWER_OPEN, ANSWER_CLOSE)
    sections = {
        ReasoningPath.LOR: (think, answer),
        ReasoningPath.DTR: (detect, think, answer),
        ReasoningPath.DIRECT: (answer,),
    }
    is_whole = well_formed = _fill_the_text(text, sections[path])

    boxes: tuple[Box3D, ...] = ()
    frame = None
    if detect is not None:
        header = _HEADER.match(detect.body)
        written = find_boxes(detect.body)
        boxes = tuple(box for box in map(read_box, written) if box is not None)
        well_formed = well_formed and len(boxes) == len(written) and _are_listed(detect.body, header, written)
        frame = int(header["frame"]) if header is not None and header["frame"] is not None else None
    return ParsedResponse(
        well_formed=well_formed,
        is_whole=is_whole,
        detect=detect.body if detect is not None else None,
        think=think.body if think is not None else None,
        answer=answer.body if answer is not None else None,
        boxes=boxes,
        reference_frame=frame,
    )


def find_boxes(detect: str) -> tuple[BoxText, ...]:
    """The boxes in the inside of a detect section, readable or not; none if there are more than `MAX_BOXES`."""
    matches = list(islice(_BOX.finditer(detect), MAX_BOXES + 1))
    if len(matches) > MAX_BOXES:
        return ()
    return tuple(
        BoxText(found["center"], found["name"].strip(), found["size"], found["yaw"], found.start(), found.end())
        for found in matches
    )


def read_box(raw: BoxText) -> Box3D | None:
    """The box; None unless its centre is three finite numbers and its size and yaw, if given, are readable."""
    center_m = read_vector(raw.center)
    if center_m is None:
        return None
    if raw.size is None or raw.yaw is None:
        return Box3D(center_m, raw.name)
    size_m, yaw_deg = read_vector(raw.size), read_number(raw.yaw)
    if size_m is None or min(size_m) <= 0.0 or yaw_deg is None:
        return None
    return Box3D(center_m, raw.name, size_m, yaw_deg)


def read_number(text: str) -> float | None:
    """`text` as a finite number, or None.

    It may have ASCII digits, a sign, a decimal point, an exponent, and white space around. Python's own `float` also
    takes full-width digits, `1_000`, `nan` and `inf`: those are not numbers here, nor are `1,5` and `1e999`.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text) is None:
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def read_vector(text: str) -> Vector3 | None:
    """Three finite numbers with commas between them, or None."""
    parts = text.split(",", maxsplit=3)
    if len(parts) != 3:
        return None
    x, y, z = (read_number(part) for part in parts)
    return None if x is None or y is None or z is None else (x, y, z)


def decimals(*values: float) -> str:
    """Numbers with two decimals and commas between them, never "-0.00".

    Raises:
        ValueError: a number is not finite.
    """
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"cannot write {values}: a number is not finite")
    # Adding 0.0 turns the -0.0 that rounding leaves into 0.0.
    return ",".join(f"{round(value, 2) + 0.0:.2f}" for value in values)


@dataclass(frozen=True, slots=True)
class _Section:
    """A section of a response: where its tags start and end in the text, and what is between them, stripped."""

    start: int
    end: int
    body: str


def _find_section(text: str, open_tag: str, close_tag: str) -> _Section | None:
    """The section between two tags that each occur once in `text`, in order, with no other tag between them."""
    start, close = _find_only(text, open_tag), _find_only(text, close_tag)
    if start < 0 or close < start:
        return None
    body = text[start + len(open_tag) : close]
    # Looking for this one character first saves six scans of a long thought.
    if "<" in body and any(tag in body for tag in TAGS):
        return None
    return _Section(start, close + len(close_tag), body.strip())


def _find_only(text: str, tag: str) -> int:
    """Where `tag` occurs in `text`, or -1 unless it occurs exactly once."""
    first = text.find(tag)
    return first if first >= 0 and text.find(tag, first + len(tag)) < 0 else -1


def _fill_the_text(text: str, sections: Sequence[_Section | None]) -> bool:
    """Whether all sections are there, in this order, with only white space around them."""
    position = 0
    for section in sections:
        # A section out of order lies in the gap before one that should come after it.
        if section is None or text[position : section.start].strip():
            return False
        position = section.end
    return not text[position:].strip()


def _are_listed(detect: str, header: re.Match[str] | None, boxes: Sequence[BoxText]) -> bool:
    """Whether `detect` is `header` and then the number of `boxes` it gives, each on its own line."""
    if header is None or int(header["count"]) != len(boxes):
        return False
    position = header.end()
    for box in boxes:
        gap = detect[position : box.start]
        if gap.strip() or "\n" not in gap:
            return False
        position = box.end
    return position == len(detect)
