"""Any data set of questions in a format of the Hugging Face hub, through a mapping of its columns.

Parquet, Arrow, CSV and TSV are streamed with `datasets`; JSON has our own reader, because in `datasets` one bad line
costs the rest of the file. Files are in a local folder or in the hub's cache. Nothing is downloaded unless
`allow_download` is set, and no code of a data set is run. The data set's card is not read, because it can name
addresses.
"""

import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from corpora.formats.image_files import ImageImporter, put_image
from corpora.formats.json_rows import json_lines, json_rows
from corpora.layouts.columns import Columns, cell_of, check_columns, optional_cell, unpacked_cell
from corpora.layouts.columns import UnknownColumnError as UnknownColumnError
from corpora.layouts.table_regions import BoxForm, BoxUnit, read_camera, read_chain, regions_of
from corpora.rows import Reader, RowError, SampleOrReject, known_ids, samples_or_rejects, value_of
from corpora.texts.answers import AnswerType, num_options_in, read_answer, read_options, with_options
from spatial.grammar import format_response, parse_response
from spatial.images import ImageStore
from spatial.sample import ImageRef, ReasoningPath, SpatialSample, Unit

_JSON_LINES, _JSON = (".jsonl", ".ndjson"), (".json",)
_TABLES = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".tsv": "csv"}
_NO_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_PARQUET_END = b"PAR1"
_NUM_PEEKED = 16
"""Rows that are looked at to check the columns: a row of JSON may leave some out."""


class HuggingFaceReader(Reader):
    """Where the rows are, and what their columns mean."""

    type: Literal["hugging_face"] = "hugging_face"
    reads: ClassVar[str] = "any table: Parquet, Arrow, CSV, JSON; a folder or the hub's cache"
    file: Path | None = None
    """A data file, or a folder of data files."""
    hub: str = ""
    """Instead of `file`: a name on the hub ("nyu-visionx/CV-Bench")."""
    revision: str = "main"
    """Revision of the data set on the hub."""
    hub_cache: Path | None = None
    """The hub's cache; null: its usual place (`HF_HOME`)."""
    allow_download: bool = False
    """Download what the cache does not have."""
    subset: str = ""
    """A folder within the data set, to read one of several parts; empty: the whole."""
    split: str = "train"
    """Read the files of a folder that have this word in their names or subfolders; empty: all files."""
    columns: Columns
    """The column of the table for each part of a sample."""
    answer_type: AnswerType = "auto"
    """auto: a choice if there are options, a number if the answer states one, otherwise yes, no or a text. text: keep
    every answer as a text."""
    unit: Unit | None = None
    """Unit of numbers; null: that which a question asks for or an answer has (an integer without a unit is a count)."""
    box_form: BoxForm = "xyxy"
    """Form of boxes: left, top, right, bottom; or left, top, width, height."""
    box_unit: BoxUnit = "pixels"
    """Unit of boxes: pixels of their image, or thousandths or shares (0 to 1) of its sides."""
    images: Path | None = None
    """The folder of the image files that rows name."""
    paths: Annotated[tuple[ReasoningPath, ...], Field(min_length=1)] = (
        ReasoningPath.LOR,
        ReasoningPath.DTR,
        ReasoningPath.DIRECT,
    )
    """The paths that questions may be asked through; DTR only for rows with regions."""

    @model_validator(mode="after")
    def _has_one_source_and_a_unit(self) -> Self:
        if (self.file is None) == (not self.hub):
            raise ValueError("give either file or hub")
        if self.answer_type == "number" and self.unit is None:
            raise ValueError("unit: give the unit of the numbers (answer_type is number)")
        return self

    def read(self, images: ImageStore) -> Iterator[SampleOrReject]:
        """Samples file by file; `Reject.line` counts a file's rows.

        Raises:
            FileNotFoundError: there is no such file or split, or the hub's cache has no such data set.
            UnknownColumnError: a column of the mapping does not exist; raised before anything is read.
        """
        root, files = _find_files(self)
        _check_columns(self, files)
        name = self.hub or root.stem
        return _read(self, name, root, files, images)


def _read(
    config: HuggingFaceReader, name: str, root: Path, files: Iterable[Path], images: ImageStore
) -> Iterator[SampleOrReject]:
    importer = ImageImporter(images, config.images, config.allow_outside) if config.images else None
    with known_ids() as is_new:
        for file in files:
            part = file.relative_to(root).as_posix() if file != root else file.name
            for number, row in _rows(file):
                make = partial(_samples, config, name, f"{part}:{number}", row, images, importer)
                yield from samples_or_rejects(file, number, make, is_new)


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
    asked = _question(cell_of(row, columns.question), columns.question)
    options = read_options(optional_cell(row, columns.options), columns.options)
    num_options = len(options) or num_options_in(asked)
    given = cell_of(row, columns.answer)
    answer, written = read_answer(
        given, config.answer_type, config.unit, options, num_options, columns.answer, question=asked
    )
    refs = _images(cell_of(row, columns.image), columns.image, images, importer)
    asked, regions = regions_of(row, columns, asked, refs, config.box_form, config.box_unit)
    paths = tuple(path for path in config.paths if regions or path is not ReasoningPath.DTR)
    if not paths:
        raise RowError(columns.boxes or columns.regions or "boxes", None, "no region, which the path dtr needs")
    yield SpatialSample(
        sample_id=f"{name}/{_label(row, columns.id) if columns.id else place}",
        domain=config.domain or name,
        kind=_label(row, columns.kind) if columns.kind else answer.type,
        paths=paths,
        images=refs,
        question=with_options(asked, options, columns.options),
        answer=answer,
        regions=regions,
        camera=read_camera(optional_cell(row, columns.camera), columns.camera, refs),
        chains=_chains(columns, row, paths, given, written),
    )


def _question(cell: Any, column: str) -> str:
    """The text of a question; a message of several parts gives all of their texts."""
    cell = unpacked_cell(cell)
    if isinstance(cell, (list, tuple)):
        parts = [part.get("text") or "" for part in cell if isinstance(part, dict)]
        cell = "\n".join(part for part in parts if isinstance(part, str) and part) or cell
    if not isinstance(cell, str):
        raise RowError(column, cell, "a question is a text")
    # The prompt decides where images go.
    question = cell.replace("<image>", "").strip()
    if not question:
        raise RowError(column, cell, "is empty")
    return question


def _chains(
    columns: Columns, row: dict[str, Any], paths: tuple[ReasoningPath, ...], given: Any, written: str
) -> dict[ReasoningPath, str]:
    """Whole responses by path: from their columns, or from an answer that is one; and the answer alone for DIRECT."""
    chains = {}
    for path, column in ((ReasoningPath.LOR, columns.chain_lor), (ReasoningPath.DTR, columns.chain_dtr)):
        if path in paths:
            if column:
                chains[path] = read_chain(optional_cell(row, column), path, column, written)
            elif isinstance(given, str) and parse_response(path, given).well_formed:
                chains[path] = given.strip()
    try:
        if ReasoningPath.DIRECT in paths:
            chains[ReasoningPath.DIRECT] = format_response(ReasoningPath.DIRECT, answer=written)
    except ValueError as error:
        raise RowError(columns.answer, written, str(error)) from error
    return {path: chain for path, chain in chains.items() if chain}


def _label(row: dict[str, Any], column: str) -> str:
    """
    Raises:
        RowError: it is not a name.
    """
    value = cell_of(row, column)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise RowError(column, value, "give a text or a whole number")
    return str(value).strip()


def _images(cell: Any, column: str, images: ImageStore, importer: ImageImporter | None) -> tuple[ImageRef, ...]:
    cell = unpacked_cell(cell)
    cells = cell if isinstance(cell, (list, tuple)) else [cell]
    # Tables have as many cells for images as their longest row.
    there = [each for each in cells if each is not None]
    if cells and not there:
        raise RowError(column, cell, "no image; give its bytes or its file's name")
    return tuple(_image(each, column, images, importer) for each in there)


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


def _find_files(config: HuggingFaceReader) -> tuple[Path, list[Path]]:
    """The file or folder, and its data files, sorted by name."""
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


def _snapshot(config: HuggingFaceReader) -> Path:
    """The folder of a data set in the hub's cache."""
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
    return Path(folder)


def _check_columns(config: HuggingFaceReader, files: Iterable[Path]) -> None:
    """Check the columns against the first file that has rows; opening thousands of files takes too long."""
    peeked = ([row for _, row in islice(_rows(file), _NUM_PEEKED) if isinstance(row, dict)] for file in files)
    check_columns(config.columns, next(filter(None, peeked), []))


def _rows(file: Path) -> Iterator[tuple[int, Any | RowError]]:
    if file.suffix in _JSON_LINES:
        return json_lines(file)
    if file.suffix in _JSON:
        return json_rows(file)
    if file.suffix not in _TABLES:
        raise FileNotFoundError(f"{file}: no data file; give one of {', '.join((*_JSON_LINES, *_JSON, *_TABLES))}")
    return _table_rows(file)


def _table_rows(file: Path) -> Iterator[tuple[int, Any | RowError]]:
    """Rows of a table as `datasets` reads them, with images undecoded and classes by name."""
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
    # The error of a broken file depends on the library that meets it: pyarrow and pandas raise value errors.
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        yield number + 1, RowError("row", file.name, f"the file breaks off or is no table: {error}")


def _check_parquet(file: Path) -> None:
    """Refuse a truncated file here: `datasets` takes it for a slow server and waits."""
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size - len(_PARQUET_END)))
        if content.read() != _PARQUET_END:
            raise ValueError(f"its last bytes are not {_PARQUET_END!r}")


def _class(names: list[str], value: Any) -> Any:
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value
