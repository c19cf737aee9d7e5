"""Small benchmarks in the layouts of the real ones, and rows broken at random."""

import base64
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from PIL import Image

from evaluation.benchmarks.benchmark import Benchmark
from evaluation.benchmarks.question import Question, ScoredAnswer
from spatial.dataset import Reject
from spatial.images import ImageStore

Row = dict[str, object]


def png(shade: int = 0) -> bytes:
    """An image of 8x6 px; each shade is a file of its own."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def png_base64(shade: int = 0) -> str:
    return base64.b64encode(png(shade)).decode()


def png_cell(shade: int = 0) -> Row:
    """As `datasets` writes an image into a parquet file."""
    return {"bytes": png(shade), "path": f"{shade}.png"}


def write_parquet(file: Path, rows: Sequence[Row]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), file)


def write_json(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), encoding="utf-8")


def write_tsv(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(
            lines, fieldnames=list(dict.fromkeys(key for row in rows for key in row)), delimiter="\t"
        )
        writer.writeheader()
        writer.writerows(rows)


def load(benchmark: Benchmark, folder: Path) -> tuple[list[Question], list[Reject]]:
    """What it reads from a folder: its questions, and its rejects."""
    found = list(benchmark.load(folder, ImageStore(folder / "store")))
    return [item for item in found if isinstance(item, Question)], [item for item in found if isinstance(item, Reject)]


def score_all(benchmark: Benchmark, questions: Iterable[Question], answers: Iterable[str | None]) -> list[ScoredAnswer]:
    return [benchmark.score(question, answer) for question, answer in zip(questions, answers, strict=True)]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.lists(st.text(max_size=5), max_size=3),
    st.lists(st.binary(max_size=5), max_size=3),
    st.dictionaries(st.sampled_from(["bytes", "path"]), st.text(max_size=5), min_size=1),
)


@st.composite
def broken(draw: st.DrawFn, row: Row, values: st.SearchStrategy[object] = VALUES) -> Row:
    """The row with some of its cells gone or replaced by anything."""
    for name in draw(st.lists(st.sampled_from(sorted(row)), min_size=1, max_size=3, unique=True)):
        if draw(st.booleans()):
            row = {key: cell for key, cell in row.items() if key != name}
        else:
            row = {**row, name: draw(values)}
    return row


JSON_VALUES = VALUES.filter(lambda value: not isinstance(value, bytes)).filter(
    lambda value: not (isinstance(value, list) and any(isinstance(each, bytes) for each in value))
)
