"""Any data set of questions in the formats of the Hugging Face hub, by a mapping of its columns.

Parquet, Arrow, CSV and TSV are read with `datasets`, streaming; JSON by our own reader, since there one bad line costs
the rest of the file otherwise. Files lie in a folder of this machine, or in the hub's cache; nothing is fetched unless
`allow_download` says so, and no code of a data set is run. A data set's card is not read either: it can name addresses.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from corpora.answers import AnswerType, num_options_in, read_answer, read_options, with_options
from corpora.rows import (
    ImageImporter,
    Item,
    ReaderConfig,
    RowError,
    items,
    json_array,
    json_lines,
    known_ids,
    put_image,
    value_of,
)
from spatial.grammar import format_response
from spatial.images import ImageStore
from spatial.sample import ImageRef, Path, SpatialSample, Unit
from spatial.strict import StrictModel

_JSON_LINES, _JSON = (".jsonl", ".ndjson"), (".json",)
_TABLES = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".tsv": "csv"}
_NO_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_PARQUET_END = b"PAR1"
_NUM_PEEKED = 16
"""Rows whose columns are known before reading: JSON may leave some out."""


class UnknownColumnError(ValueError):
    """The mapping names a column that the data set has not."""


class Columns(StrictModel):
    """Which column holds what; an empty name: there is none."""

    question: Annotated[str, Field(min_length=1)]
    answer: Annotated[str, Field(min_length=1)]
    image: Annotated[str, Field(min_length=1)]
    """An image or a list of them: as `datasets` keeps images, as bytes, or as files' names in the folder `images`."""
    options: str = ""
    """A list of texts; without it, a choice's options stand in the question (A. left)."""
    id: str = ""
    """A text or a whole number; without it, samples are numbered."""
    kind: str = ""
    """The kind of question; without it, the answer's type."""


class HuggingFaceReader(ReaderConfig):
    """Where the rows are, and what they mean."""

    type: Literal["hugging_face"] = "hugging_face"
    file: FilePath | None = None
    """A data file, or a folder of them."""
    hub: str = ""
    """Or a name on the hub ("nyu-visionx/CV-Bench")."""
    revision: str = "main"
    """Of what is on the hub."""
    hub_cache: FilePath | None = None
    """The hub's cache; None: where its tools keep it (`HF_HOME`)."""
    allow_download: bool = False
    """Fetch from the hub what its cache has not."""
    subset: str = ""
    """A folder in it: of data sets with several parts, the one to read."""
    split: str = "train"
    """Of a folder, read the files with this word in their names or folders; empty: all of them."""
    columns: Columns
    answer_type: AnswerType = "auto"
    """auto: a choice where there are options; a number where it reads as one (a whole one without `unit` is a count);
    else a text."""
    unit: Unit | None = None
    """Of numbers."""
    images: FilePath | None = None
    """The folder that images named in the rows lie in."""
    paths: Annotated[tuple[Literal[Path.LOR, Path.DIRECT], ...], Field(min_length=1)] = (Path.LOR, Path.DIRECT)
    """The paths that questions may be asked through; DTR needs regions, which no column holds."""

    @model_validator(mode="after")
    def _has_one_source_and_a_unit(self) -> Self:
        if (self.file is None) == (not self.hub):
            raise ValueError("give either file or hub")
        if self.answer_type == "number" and self.unit is None:
            raise ValueError("unit: give the unit of the numbers (answer_type is number)")
        return self


def read(config: HuggingFaceReader, images: ImageStore) -> Iterator[Item]:
    """Samples file by file; `Reject.line` counts a file's rows.

    Raises:
        FileNotFoundError: there is no such file or split, or the hub's cache has no such data set.
        UnknownColumnError: a column of the mapping is not there; told before anything is read.
    """
    root, files = _find_files(config)
    _check_columns(config, files)
    name = config.hub or root.stem
    return _read(config, name, root, files, images)


def _read(
    config: HuggingFaceReader, name: str, root: FilePath, files: Iterable[FilePath], images: ImageStore
) -> Iterator[Item]:
    importer = ImageImporter(images, config.images, config.allow_outside) if config.images else None
    with known_ids() as is_new:
        for file in files:
            part = file.relative_to(root).as_posix() if file != root else file.name
            for number, row in _rows(file):
                make = partial(_samples, config, name, f"{part}:{number}", row, images, importer)
                yield from items(file, number, make, is_new)


def _samples(
    config: HuggingFaceReader,
    name: str,
    place: str,
    row: Any,
    images: ImageStore,
    importer: ImageImporter | None,
) -> Iterator[SpatialSample]:
    row = value_of(row)
    if not isinstance(row, dict):
        raise RowError("row", row, "give an object with a value for each column")
    columns = config.columns
    question = _cell(row, columns.question)
    if not isinstance(question, str):
        raise RowError(columns.question, question, "a question is a text")
    # Where pictures go is for the prompt to say.
    question = question.replace("<image>", "").strip()
    options = read_options(_cell(row, columns.options), columns.options) if columns.options else ()
    num_options = len(options) or num_options_in(question)
    answer, written = read_answer(
        _cell(row, columns.answer), config.answer_type, config.unit, options, num_options, columns.answer
    )
    if not question:
        raise RowError(columns.question, question, "is empty")
    try:
        chains = {Path.DIRECT: format_response(Path.DIRECT, answer=written)} if Path.DIRECT in config.paths else {}
    except ValueError as error:
        raise RowError(columns.answer, written, str(error)) from error
    yield SpatialSample(
        sample_id=f"{name}/{_label(row, columns.id) if columns.id else place}",
        domain=config.domain or name,
        kind=_label(row, columns.kind) if columns.kind else answer.type,
        paths=config.paths,
        images=_images(_cell(row, columns.image), columns.image, images, importer),
        question=with_options(question, options),
        answer=answer,
        chains=chains,
    )


def _cell(row: dict[str, Any], column: str) -> Any:
    if column not in row:
        raise RowError(column, sorted(map(str, row)), "the row has no such column")
    return row[column]


def _label(row: dict[str, Any], column: str) -> str:
    """
    Raises:
        RowError: it is no name.
    """
    value = _cell(row, column)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise RowError(column, value, "give a text or a whole number")
    return str(value).strip()


def _images(cell: Any, column: str, images: ImageStore, importer: ImageImporter | None) -> tuple[ImageRef, ...]:
    cells = cell if isinstance(cell, (list, tuple)) else [cell]
    return tuple(_image(each, column, images, importer) for each in cells)


def _image(cell: Any, column: str, images: ImageStore, importer: ImageImporter | None) -> ImageRef:
    match cell:
        case {"bytes": bytes(data)} | bytes(data):
            return put_image(images, data, column, f"{len(data)} bytes")
        case {"path": str(name)} | str(name):
            if importer is None:
                raise RowError(column, name, "a file's name: set images to the folder that it lies in")
            return importer.put(name, column)
        case _:
            raise RowError(column, type(cell).__name__, "no image; give its bytes or its file's name")


def _find_files(config: HuggingFaceReader) -> tuple[FilePath, list[FilePath]]:
    """The file or folder, and the data files in it, in order of their names."""
    root = config.file or _snapshot(config)
    root = root / config.subset if config.subset else root
    if root.is_file():
        return root, [root]
    suffixes = (*_JSON_LINES, *_JSON, *_TABLES)
    files = sorted(f for f in root.rglob("*") if f.suffix in suffixes and f.name not in _NO_DATA and f.is_file())
    if not files:
        raise FileNotFoundError(f"{root}: there is no data file in it ({', '.join(suffixes)})")
    word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(config.split)}(?![A-Za-z0-9])")
    chosen = [file for file in files if not config.split or word.search(file.relative_to(root).as_posix())]
    if not chosen:
        names = ", ".join(file.relative_to(root).as_posix() for file in files[:5])
        raise FileNotFoundError(f"{root}: no file is called after split='{config.split}' ({names}); '' reads them all")
    return root, chosen


def _snapshot(config: HuggingFaceReader) -> FilePath:
    """The folder of a data set of the hub."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            config.hub,
            repo_type="dataset",
            revision=config.revision,
            cache_dir=config.hub_cache,
            local_files_only=not config.allow_download,
        )
    except FileNotFoundError as error:
        advice = f"fetch it (hf download --repo-type dataset {config.hub}), or set allow_download=true"
        raise FileNotFoundError(f"the hub's cache has no data set {config.hub}: {advice}") from error
    return FilePath(folder)


def _check_columns(config: HuggingFaceReader, files: Iterable[FilePath]) -> None:
    """The first file that holds rows stands for the others: to open thousands of them takes long."""
    peeked = ([row for _, row in islice(_rows(file), _NUM_PEEKED) if isinstance(row, dict)] for file in files)
    known = sorted({str(name) for row in next(filter(None, peeked), []) for name in row})
    for purpose, column in config.columns:
        if known and column and column not in known:
            nearest = difflib.get_close_matches(column, known, n=1, cutoff=0.0)[0]
            raise UnknownColumnError(
                f"columns.{purpose}={column!r}: there is no such column; did you mean {nearest!r}? There are: "
                + ", ".join(known)
            )


def _rows(file: FilePath) -> Iterator[tuple[int, Any | RowError]]:
    if file.suffix in _JSON_LINES:
        return json_lines(file)
    if file.suffix in _JSON:
        with file.open("rb") as content:
            return json_array(file) if content.read(1024).lstrip()[:1] == b"[" else json_lines(file)
    if file.suffix not in _TABLES:
        raise FileNotFoundError(f"{file}: no data file; give one of {', '.join((*_JSON_LINES, *_JSON, *_TABLES))}")
    return _table_rows(file)


def _table_rows(file: FilePath) -> Iterator[tuple[int, Any | RowError]]:
    """Rows of a table as `datasets` reads them, images as they are stored and classes by their names."""
    import datasets
    from datasets import ClassLabel, load_dataset

    number = 0
    options = {"sep": "\t"} if file.suffix == ".tsv" else {}
    try:
        if file.suffix == ".parquet":
            _check_parquet(file)
        table = load_dataset(_TABLES[file.suffix], data_files=[str(file)], split="train", streaming=True, **options)
        features = table.features or {}
        labels = {name: kind.names for name, kind in features.items() if isinstance(kind, ClassLabel)}
        for number, row in enumerate(table.decode(False) if features else table, start=1):
            yield number, row | {name: _class(names, row[name]) for name, names in labels.items()}
    # A broken file is told by whichever library meets it: pyarrow and pandas with errors of value, or the system.
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        yield number + 1, RowError("row", file.name, f"the file breaks off or is no table: {error}")


def _check_parquet(file: FilePath) -> None:
    """`datasets` takes a file that is cut short for a slow server, and waits."""
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size - len(_PARQUET_END)))
        if content.read() != _PARQUET_END:
            raise ValueError(f"its last bytes are not {_PARQUET_END!r}")


def _class(names: list[str], value: Any) -> Any:
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value
