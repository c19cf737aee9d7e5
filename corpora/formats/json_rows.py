"""JSON row by row, from lines or one array of any length; a broken row is a `RowError` that is yielded, not raised."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import ijson
import orjson

from corpora.rows import RowError

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is a reject: reading it whole could exhaust the memory."""


_MAX_DEPTH = 1000
"""Deepest nesting of brackets: ijson stores the path to each, in memory that grows with the square of the depth."""
_CHUNK_BYTES = 4096
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
"""A complete JSON string; an escaped quote does not end it."""
_NAN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|$)|(-?\b(?:NaN|Infinity)\b)', re.DOTALL)
_PART_OF_NAN = re.compile(rb"(?:^|[:\[,\s])(?:-|-?(?:N(?:aN?)?|I(?:n(?:f(?:i(?:n(?:i(?:ty?)?)?)?)?)?)?))$")


def lines_of(file: Path) -> Iterator[tuple[int, bytes | RowError]]:
    """Numbered lines that are not empty; a line that is too long becomes a `RowError`."""
    with file.open("rb") as lines:
        number = 0
        while line := lines.readline(MAX_LINE_BYTES):
            number += 1
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                while (rest := lines.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                    pass
                yield number, RowError("line", line[:40], f"longer than {MAX_LINE_BYTES} bytes; split it")
            elif line.strip():
                yield number, line


def json_lines(file: Path) -> Iterator[tuple[int, Any | RowError]]:
    """Numbered values of a file with one JSON value per line; a line that is not JSON becomes a `RowError`."""
    for number, line in lines_of(file):
        if isinstance(line, RowError):
            yield number, line
            continue
        try:
            yield number, orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield number, RowError("line", line.decode(errors="replace").strip(), f"no JSON: {error}")


def json_rows(file: Path) -> Iterator[tuple[int, Any | RowError]]:
    """Numbered values of a JSON array or of a file with one value per line, whichever the file is."""
    with file.open("rb") as content:
        is_array = content.read(1024).lstrip()[:1] == b"["
    return json_array(file) if is_array else json_lines(file)


def json_array(file: Path, prefix: str = "item") -> Iterator[tuple[int, Any | RowError]]:
    """Numbered elements of a JSON array, parsed one by one; a truncated file ends with a `RowError`.

    Args:
        prefix: where the array is, as a prefix of ijson: "item" if the file is the array, "annotations.item" if the
            array stands under "annotations".
    """
    number = 0
    try:
        with file.open("rb") as content:
            shallow = _ShallowFile(content)
            for number, value in enumerate(ijson.items(shallow, prefix, use_float=True), start=1):
                yield number, value
    except (ijson.JSONError, UnicodeDecodeError) as error:
        if "integer overflow" not in str(error):
            yield number + 1, _broken(prefix, error)
            return
    else:
        return
    # The fast parser stops at an integer of more than 64 bits; the slow one reads the rest.
    skipped = number
    try:
        with file.open("rb") as content:
            values = ijson.get_backend("python").items(_ShallowFile(content), prefix, use_float=True)
            for number, value in enumerate(values, start=1):
                if number > skipped:
                    yield number, value
    except (ijson.JSONError, UnicodeDecodeError) as error:
        yield number + 1, _broken(prefix, error)


class _ShallowFile:
    """A file that raises an error where its brackets are nested too deeply. Brackets in strings do not count (masks
    have many that never close). NaN and Infinity, which Python writes although JSON has neither, become strings:
    they cost the row that needs a number there, and not the rest of the file."""

    def __init__(self, content: BinaryIO) -> None:
        self._content = content
        self._depth = 0
        # If the last bytes ended within a string: its opening quote, and the backslash if they ended in one.
        self._open = b""

    def read(self, num_bytes: int) -> bytes:
        data = self._content.read(min(num_bytes, _CHUNK_BYTES) if num_bytes >= 0 else _CHUNK_BYTES)
        if data and _PART_OF_NAN.search(data):
            data += self._content.read(len(b"-Infinity"))
        if b"NaN" in data or b"Infinity" in data:
            whole = _NAN.sub(lambda match: match[0] if match[1] is None else b'"%s"' % match[0], self._open + data)
            data = whole[len(self._open) :]
        outside, quote, text = _TEXT.sub(b"", self._open + data).partition(b'"')
        self._open = quote + (b"\\" if (len(text) - len(text.rstrip(b"\\"))) % 2 else b"")
        self._depth += outside.count(b"[") + outside.count(b"{") - outside.count(b"]") - outside.count(b"}")
        if self._depth > _MAX_DEPTH:
            raise ijson.JSONError(f"brackets are nested more than {_MAX_DEPTH} deep")
        return data


def _broken(prefix: str, error: Exception) -> RowError:
    return RowError("row", prefix, f"the file breaks off or is no JSON: {str(error).splitlines()[0]}")
