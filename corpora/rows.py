"""What every reader is made of: a row becomes samples, or one named reject. Nothing is held but the row.

A reader is a config (its `type`, its files) and a generator::

    def read(config: SparReader, images: ImageStore) -> Iterator[Item]:
        with known_ids() as is_new:
            for number, row in json_lines(config.file):
                yield from items(config.file, number, partial(_samples, config, row, images), is_new)

where `_samples` validates the raw row with a pydantic model of its own and raises `RowError` where the row contradicts
itself. What a row holds never stops a reader; a file that is missing does.
"""

import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import ijson
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from spatial.dataset import Reject, shorten
from spatial.images import ImageStore
from spatial.sample import ImageRef, SpatialSample
from spatial.strict import StrictModel

Item = SpatialSample | Reject
IsNew = Callable[[str], bool]
"""Whether a sample's id comes for the first time."""
T = TypeVar("T")

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is a reject: it is no sample of ours, and reading it whole could fill the memory."""


_MAX_DEPTH = 1000
"""Of brackets within brackets: ijson remembers the way to each, in memory that grows with the square of the depth."""
_CHUNK_BYTES = 4096
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
"""A whole text of JSON; what a backslash escapes does not end it."""
_NAN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|$)|(-?\b(?:NaN|Infinity)\b)', re.DOTALL)
_PART_OF_NAN = re.compile(rb"(?:^|[:\[,\s])(?:-|-?(?:N(?:aN?)?|I(?:n(?:f(?:i(?:n(?:i(?:ty?)?)?)?)?)?)?))$")


class RowError(ValueError):
    """A row cannot become a sample."""

    def __init__(self, field: str, value: object, advice: str) -> None:
        super().__init__(f"{field}: {value!r}: {advice}")
        self.field, self.value, self.advice = field, value, advice


class Raw(BaseModel):
    """The base of a foreign row: typed where it is used, and whatever else it holds is left alone."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class ReaderConfig(StrictModel):
    """What every reader may be told."""

    domain: str = ""
    """Of its samples; empty: the reader's own name or what the rows say."""
    allow_outside: bool = False
    """Let rows name images by absolute paths or with `..`; refused otherwise."""


def items(file: Path, number: int, make: Callable[[], Iterable[SpatialSample]], is_new: IsNew) -> Iterator[Item]:
    """The samples of row `number` of `file` (counted from 1), and a reject where it goes wrong or an id repeats."""
    try:
        for sample in make():
            yield sample if is_new(sample.sample_id) else repeated(file, number, sample, "an earlier sample")
    except RowError as error:
        yield Reject(file, number, error.field, shorten(repr(error.value)), error.advice)
    except ValidationError as error:
        yield Reject.of(file, number, error)


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


def counts_in_parts_of_one(place: Sequence[float]) -> bool:
    """Whether a point or box on an image is written in parts of the image's sides, 0 to 1.

    As pixels or thousandths it would be less than one large, in the image's corner.
    """
    return max(place) <= 1 and any(not float(side).is_integer() for side in place)


def value_of(row: T | RowError) -> T:
    """The row, or its error raised: first thing in a reader's `_samples`."""
    if isinstance(row, RowError):
        raise row
    return row


def inside(root: Path, name: str, field: str, allow_outside: bool = False) -> Path:
    """The file `name` within `root`.

    Raises:
        RowError: it leads out of `root` (absolute, `..`, or a link) though that is not allowed, or it is no file.
    """
    if "\0" in name:
        raise RowError(field, name, "a file's name holds no NUL")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # half of a pair of surrogates
        raise RowError(field, name, "a file's name holds a character that no file's can") from None
    file = root / name
    try:
        if not allow_outside and not file.resolve().is_relative_to(root.resolve()):
            raise RowError(field, name, f"leads out of '{root}'; set allow_outside=true if it is meant")
        if not file.is_file():
            raise RowError(field, name, f"there is no file '{file}'")
    except OSError as error:  # a name too long, a loop of links
        raise RowError(field, name, f"cannot be looked up: {error}") from error
    return file


class ImageImporter:
    """Puts a data set's image files into the store; a file that is named again is not read again."""

    def __init__(self, images: ImageStore, root: Path, allow_outside: bool = False) -> None:
        self._images, self._root, self._allow_outside = images, root, allow_outside
        self._stored = lru_cache(maxsize=10_000)(self._store)

    def put(self, name: str, field: str = "image") -> ImageRef:
        """The image in the file `name`.

        Raises:
            RowError: there is no such file in the data set's folder, or it is no image.
        """
        return self._stored(inside(self._root, name, field, self._allow_outside), name, field)

    def _store(self, file: Path, name: str, field: str) -> ImageRef:
        return put_image(self._images, file.read_bytes(), field, name)


def put_image(images: ImageStore, data: bytes, field: str, name: str) -> ImageRef:
    """Store the bytes of an image file.

    Raises:
        RowError: they are no readable image.
    """
    try:
        return images.put_encoded(data)
    except ValueError as error:
        raise RowError(field, name, str(error)) from error


def repeated(file: Path, number: int, sample: SpatialSample, by: str) -> Reject:
    """For a sample whose id `by` has already."""
    return Reject(file, number, "sample_id", shorten(repr(sample.sample_id)), f"{by} has this id; give each its own")


@contextmanager
def known_ids() -> Iterator[IsNew]:
    """Whether an id is asked for the first time; any number of them, on disk."""
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "ids")) as ids:
        ids.execute("PRAGMA journal_mode=OFF")
        ids.execute("PRAGMA synchronous=OFF")
        ids.execute("CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID")
        insert = "INSERT OR IGNORE INTO ids VALUES (?)"
        yield lambda name: ids.execute(insert, (name.encode(),)).rowcount > 0
