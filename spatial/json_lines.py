"""Files with one JSON object a line: what is written is JSON whoever reads it, and what is no object is passed over."""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

_log = logging.getLogger(__name__)

CUT_SHORT = "%s: its last line was cut short (by a crash, or a full disk) and is dropped"
"""What is said of a file (its path is filled in) whose end a crash has taken."""


def to_json(value: object, indent: int | None = None) -> str:
    """As JSON: NaN and infinity, which it has no word for, become null; NumPy's and torch's numbers become plain."""
    try:
        return json.dumps(value, allow_nan=False, default=_plain_number, indent=indent)
    except ValueError:  # rare, so that looking through every number first would be in vain
        return json.dumps(finite(value), allow_nan=False, indent=indent)


def read_object(line: bytes | str) -> dict[str, Any] | None:
    """The object of a line, with null for the NaN and Infinity that some programs write; None if it holds no object."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            found = json.loads(line, parse_constant=lambda name: None)
        except ValueError:
            return None
    return found if isinstance(found, dict) else None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one JSON object a line; none if there is no such file.

    What is no such line is passed over, and said: above all a last one that was cut short by a crash or a full disk.
    """
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        row = read_object(line)
        if row is not None:
            rows.append(row)
        elif number == len(lines) and line:
            _log.warning(CUT_SHORT, path)
        elif line:
            _log.warning("%s:%d is no JSON object and is passed over: %.60s", path, number, line)
    return rows


def finite(value: Any) -> Any:
    """The same, with None in place of every number that is not finite, and plain numbers."""
    match value:
        case float():
            return float(value) if math.isfinite(value) else None
        case Mapping():
            return {key: finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [finite(inner) for inner in value]
        case None | bool() | int() | str():
            return value
        case _:
            return finite(_plain_number(value))


def _plain_number(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy's and torch's, of any shape
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON: {value!r:.100}")
