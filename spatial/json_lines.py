"""Files with one JSON object per line: what is written is standard JSON, and lines that hold no object are skipped."""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

_log = logging.getLogger(__name__)

CUT_SHORT = "%s: its last line was cut short (by a crash, or a full disk) and is dropped"
"""The warning about a file, with its path filled in, whose end was lost in a crash."""


def to_json(value: object, indent: int | None = None) -> str:
    """As JSON. NaN and infinity, which JSON lacks, become null; NumPy's and torch's numbers become plain ones."""
    try:
        return json.dumps(value, allow_nan=False, default=_plain_number, indent=indent)
    except ValueError:  # rare, so the numbers are not searched in advance
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

    Other lines are skipped with a warning, above all a last line that was cut short by a crash or a full disk.
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
            _log.warning("%s:%d is not a JSON object and is skipped: %.60s", path, number, line)
    return rows


def finite(value: Any) -> Any:
    """The same value with plain numbers, and None in place of every number that is not finite."""
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
