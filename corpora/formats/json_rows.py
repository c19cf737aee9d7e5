"""JSON row by row: lines or one array, however long; what is broken is a value and is never raised."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import ijson
import orjson

from corpora.rows import RowError

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is a reject: it is no sample of ours, and reading it whole could fill the memory."""


_MAX_DEPTH = 1000
"""Of brackets within brackets: ijson remembers the way to each, in memory that grows with the square of the depth."""
_CHUNK_BYTES = 4096
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
"""A whole text of JSON; what a backslash escapes does not end it."""
_NAN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|$)|(-?\b(?:NaN|Infinity)\b)', re.DOTALL)
_PART_OF_NAN = re.compile(rb"(?:^|[:\[,\s])(?:-|-?(?:N(?:aN?)?|I(?:n(?:f(?:i(?:n(?:i(?:ty?)?)?)?)?)?)?))$")


def lines_of(file: Path) -> Iterator[tuple[int, bytes | RowError]]:
    """Numbered lines that are not empty; one that is too long is a `RowError`, not raised."""
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
    """Numbered values of a file with one JSON value a line; a line that is none is a `RowError`, not raised."""
    for number, line in lines_of(file):
        if isinstance(line, RowError):
            yield number, line
            continue
        try:
            yield number, orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield number, RowError("line", line.decode(errors="replace").strip(), f"no JSON: {error}")


def json_rows(file: Path) -> Iterator[tuple[int, Any | RowError]]:
    """Numbered values of a JSON array, or of a file with one value a line, whichever it is."""
    with file.open("rb") as content:
        is_array = content.read(1024).lstrip()[:1] == b"["
    return json_array(file) if is_array else json_lines(file)


def json_array(file: Path, prefix: str = "item") -> Iterator[tuple[int, Any | RowError]]:
    """Numbered elements of a JSON array, parsed as they come; a file that breaks off ends with a `RowError`.

    Args:
        prefix: where the array is, in ijson's words: "item" is the file's own, "annotations.item" one within.
    """
    number = 0
    try:
        with file.open("rb") as content:
            shallow = _Shallow(content)
            for number, value in enumerate(ijson.items(shallow, prefix, use_float=True), start=1):
                yield number, value
    except (ijson.JSONError, UnicodeDecodeError) as error:
        if "integer overflow" not in str(error):
            yield number + 1, _broken(prefix, error)
            return
    else:
        return
    # The fast parser stops at a whole number of more than 64 bits; the slow one takes it, and goes on.
    skipped = number
    try:
        with file.open("rb") as content:
            values = ijson.get_backend("python").items(_Shallow(content), prefix, use_float=True)
            for number, value in enumerate(values, start=1):
                if number > skipped:
                    yield number, value
    except (ijson.JSONError, UnicodeDecodeError) as error:
        yield number + 1, _broken(prefix, error)


class _Shallow:
    """A file that ends in an error where its brackets are nested too deep; those in texts do not count (masks have
    many that never close). NaN and Infinity, which Python writes though JSON has none, become texts: they cost the row
    that needs a number there, not the rest of the file."""

    def __init__(self, content: BinaryIO) -> None:
        self._content = content
        self._depth = 0
        # What stands for the text that the last bytes broke off in: its quote, and the backslash if they ended in one.
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
