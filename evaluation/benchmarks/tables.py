"""Rows of a benchmark's files, as questions. A bad row is a reject and never stops the reading; a missing file does."""

import base64
import binascii
import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from corpora.formats.image_files import inside, put_image
from corpora.formats.json_rows import MAX_LINE_BYTES, json_array, json_lines
from corpora.rows import RowError, value_of
from evaluation.benchmarks.question import Question
from spatial.dataset import Reject, shorten
from spatial.images import ImageStore
from spatial.sample import ImageRef

Rows = Iterable[tuple[int, Any | RowError]]
"""Rows numbered from 1; a row that cannot be read is a `RowError`, which is not raised."""

_ROWS_AT_ONCE = 16


def read_questions(
    file: Path, rows: Rows, make: Callable[[int, Any], Iterable[Question]]
) -> Iterator[Question | Reject]:
    """For each row, the questions that `make` returns for its number and value, or one reject.

    A row whose question repeats an earlier id is a reject, too.
    """
    seen: set[str] = set()
    for number, row in rows:
        try:
            questions = list(make(number, value_of(row)))
            ids = [question.sample.sample_id for question in questions]
            if repeated := seen.intersection(ids):
                raise RowError("sample_id", min(repeated), "an earlier row has this id; give each its own")
        except RowError as error:
            yield Reject(file, number, error.field, shorten(repr(error.value)), error.advice)
        except ValidationError as error:
            yield Reject.of(file, number, error)
        else:
            seen.update(ids)
            yield from questions


def find_files(folder: Path, patterns: Sequence[str], layout: str) -> list[Path]:
    """The files of the first of `patterns` (globs) that matches any file in `folder`, sorted by name.

    Raises:
        FileNotFoundError: none matches; the message says what the folder must hold.
    """
    for pattern in patterns:
        if files := sorted(file for file in folder.glob(pattern) if file.is_file()):
            return files
    raise FileNotFoundError(f"{folder}: no {' and no '.join(patterns)} in it; {layout}")


def rows_of(file: Path, array: str = "item") -> Rows:
    """Rows of a file by its suffix: `.parquet`, `.tsv`, `.jsonl`, `.json`.

    Args:
        array: where in a `.json` file the rows are, as a prefix of ijson: "item" is the file's own array,
            "questions.item" the array under "questions".
    """
    match file.suffix:
        case ".parquet":
            return parquet_rows(file)
        case ".tsv":
            return tsv_rows(file)
        case ".jsonl":
            return json_lines(file)
        case ".json":
            return json_array(file, array)
        case suffix:
            raise ValueError(f"{file}: cannot read {suffix or 'files without a suffix'}")


def local_folder(name: Path) -> Path:
    """The folder itself, or the hub's cached copy of a data set ("nyu-visionx/CV-Bench"); nothing is downloaded.

    Raises:
        FileNotFoundError: there is neither.
    """
    if name.is_dir() or name.is_absolute() or len(name.parts) != 2:
        return name
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(name.as_posix(), repo_type="dataset", local_files_only=True))
    except (FileNotFoundError, HFValidationError) as error:
        advice = f"fetch it (hf download --repo-type dataset {name.as_posix()}) or give another folder"
        raise FileNotFoundError(f"{name}: no such folder, and no such data set in the hub's cache; {advice}") from error


def parquet_rows(file: Path) -> Iterator[tuple[int, Any | RowError]]:
    """Rows of a parquet file as dicts, a few at a time; a truncated file ends with a `RowError`."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            batches = table.iter_batches(batch_size=_ROWS_AT_ONCE)
            for number, row in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), start=1):
                yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        yield number + 1, RowError("row", file.name, f"the file breaks off or is no parquet: {error}")


def tsv_rows(file: Path) -> Iterator[tuple[int, Any | RowError]]:
    """Rows of a tab-separated file with a header, as dicts of texts; cells may be as long as a line of JSON."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    with file.open(encoding="utf-8", errors="replace", newline="") as lines:
        reader = csv.DictReader(lines, dialect="excel-tab", restkey="", restval="")
        number = 0
        while True:
            number += 1
            try:
                yield number, next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, RowError("row", file.name, f"cannot be read: {error}")


def store_cell(images: ImageStore, cell: object, field: str, root: Path) -> ImageRef:
    """Store the image that a cell holds: its bytes, its base64, or {"bytes": …, "path": …} as `datasets` writes it.

    Args:
        root: the folder of a file that is given by its path.

    Raises:
        RowError: it holds no image, or one that cannot be read.
    """
    match cell:
        case {"bytes": bytes(data)} | bytes(data):
            return put_image(images, data, field, f"{len(data)} bytes")
        case {"path": str(name)}:
            return put_image(images, inside(root, name, field).read_bytes(), field, name)
        case str(text):
            try:
                data = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError) as error:
                raise RowError(
                    field, text[:40], f'no base64 ({error}); the name of a file is given as {{"path": name}}'
                ) from error
            return put_image(images, data, field, text[:40])
        case _:
            raise RowError(field, cell, "no image; give its bytes, its base64 or its file's name")
