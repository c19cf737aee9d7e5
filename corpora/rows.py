"""What every reader is made of: a row becomes samples, or one reject that names what is wrong. Only the row is held.

A reader is its settings and how they are read::

    class SparReader(Reader):
        type: Literal["spar"] = "spar"
        reads: ClassVar[str] = "SPAR-7M"
        file: Path

        def read(self, images: ImageStore) -> Iterator[SampleOrReject]:
            with known_ids() as is_new:
                for number, row in json_lines(self.file):
                    yield from samples_or_rejects(self.file, number, partial(_samples, self, row, images), is_new)

where `_samples` validates the raw row with a pydantic model of its own and raises `RowError` where the row contradicts
itself. A bad row never stops a reader; a missing file does.
"""

import reprlib
import sqlite3
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from spatial.dataset import Reject, dotted, shorten
from spatial.images import ImageStore
from spatial.sample import SpatialSample
from spatial.strict import StrictModel

SampleOrReject = SpatialSample | Reject
IsNew = Callable[[str], bool]
"""Whether a sample's id has not occurred before."""
T = TypeVar("T")
_Row = TypeVar("_Row", bound="Raw")


class RowError(ValueError):
    """A row cannot become a sample."""

    def __init__(self, field: str, value: object, advice: str) -> None:
        super().__init__(f"{field}: {value!r}: {advice}")
        self.field, self.value, self.advice = field, value, advice


class Raw(BaseModel):
    """The base of a foreign row: the fields that a reader uses, with their types; all others are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class Reader(StrictModel):
    """The base of every reader: its settings, with a `type` of its own, and how they are read."""

    reads: ClassVar[str]
    """The data set, in the words of the table in docs/data.md."""

    domain: str = ""
    """Domain of the samples; empty: the reader's own name, or what the rows say."""
    allow_outside: bool = False
    """Allow rows to name images by absolute paths or with `..`."""

    @abstractmethod
    def read(self, images: ImageStore) -> Iterator[SampleOrReject]:
        """The samples as they come, and a reject for each row that cannot become one. Memory use stays flat.

        Args:
            images: the store that gets the images.

        Raises:
            FileNotFoundError: a file of the data set is missing.
        """


def samples_or_rejects(
    file: Path, number: int, make: Callable[[], Iterable[SpatialSample]], is_new: IsNew
) -> Iterator[SampleOrReject]:
    """The samples of row `number` of `file` (from 1); a fault or a repeated id gives a reject instead."""
    try:
        for sample in make():
            yield sample if is_new(sample.sample_id) else repeated(file, number, sample, "an earlier sample")
    except RowError as error:
        yield Reject(file, number, error.field, shorten(repr(error.value)), error.advice)
    except ValidationError as error:
        yield Reject.of(file, number, error)


def counts_in_parts_of_one(place: Sequence[float]) -> bool:
    """Whether a point or box is written as fractions of the image's sides, 0 to 1.

    Read as pixels or thousandths it would be smaller than one unit, in the corner of the image.
    """
    return max(place) <= 1 and any(not float(side).is_integer() for side in place)


def value_of(row: T | RowError) -> T:
    """The row; if it is an error, that is raised. The first step of a reader's `_samples`."""
    if isinstance(row, RowError):
        raise row
    return row


def checked(model: type[_Row], value: Any, field: str) -> _Row:
    """A part of a row, validated by itself, so that a fault costs only this part.

    Raises:
        RowError: it is not valid; the error names `field` and the place within.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(filter(None, (field, dotted(first["loc"])))) or "row"
        # reprlib bounds the text: a few objects of a pickle can have a repr that takes hours.
        raise RowError(where, _Verbatim(reprlib.repr(first["input"])), first["msg"]) from error


class _Verbatim(str):
    """A text whose repr is the text itself."""

    def __repr__(self) -> str:
        return str(self)


def reject(file: Path, number: int, error: RowError) -> Reject:
    """A reject for a part of row `number`."""
    return Reject(file, number, error.field, shorten(repr(error.value)), error.advice)


def repeated(file: Path, number: int, sample: SpatialSample, by: str) -> Reject:
    """A reject for a sample whose id `by` has already."""
    return Reject(file, number, "sample_id", shorten(repr(sample.sample_id)), f"{by} has this id; give each its own")


@contextmanager
def known_ids() -> Iterator[IsNew]:
    """A test whether an id is new; ids are kept on disk, so their number is not limited."""
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "ids")) as ids:
        ids.execute("PRAGMA journal_mode=OFF")
        ids.execute("PRAGMA synchronous=OFF")
        ids.execute("CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID")
        insert = "INSERT OR IGNORE INTO ids VALUES (?)"
        yield lambda name: ids.execute(insert, (name.encode(),)).rowcount > 0
