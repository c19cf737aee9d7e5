"""Data sets of questions in the hub's formats, written here; nothing is fetched."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from corpora.readers.hugging_face import Columns, HuggingFaceReader, UnknownColumnError
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import ChoiceAnswer, NumberAnswer, ReasoningPath, SpatialSample, TextAnswer
from tests.corpora.fuzz import FEW, check_items, spoil

Row = dict[str, Any]


def png(level: int = 7) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), level, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def a_row(**changes: Any) -> Row:
    return {"uid": 3, "q": "Which is nearer?", "choices": ["left", "right"], "gold": "B", "img": "a.png", **changes}


def columns(**changes: str) -> Columns:
    return Columns(**{"question": "q", "answer": "gold", "image": "img", "options": "choices", "id": "uid", **changes})


def write(root: Path, rows: Iterable[Row] | str, name: str = "train.jsonl") -> HuggingFaceReader:
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / "images/a.png").write_bytes(png())
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    (root / name).write_text(text, encoding="utf-8", errors="surrogatepass")
    return HuggingFaceReader(file=root / name, images=root / "images", columns=columns())


def split(config: HuggingFaceReader, root: Path) -> tuple[list[SpatialSample], list[Reject]]:
    found = check_items(config.read(ImageStore(root / "store")), root / "store")
    return [i for i in found if isinstance(i, SpatialSample)], [i for i in found if isinstance(i, Reject)]


def read_one(root: Path, row: Row, **settings: Any) -> SpatialSample | Reject:
    samples, rejects = split(write(root, [row]).replace(**settings), root)
    (item,) = [*samples, *rejects]
    return item


def test_a_row_becomes_a_question_by_the_names_of_its_columns(tmp_path: Path) -> None:
    sample = read_one(tmp_path, a_row(task="depth"), columns=columns(kind="task"))
    assert isinstance(sample, SpatialSample)
    assert (sample.sample_id, sample.domain, sample.kind) == ("train/3", "train", "depth")
    assert sample.question == "Which is nearer?\nA. left\nB. right\nAnswer with the letter of the right option."
    assert sample.answer == ChoiceAnswer(letter="B", num_options=2)
    assert sample.paths == (ReasoningPath.LOR, ReasoningPath.DIRECT)
    assert sample.chains == {ReasoningPath.DIRECT: "<answer>B</answer>"}
    assert (sample.images[0].width_px, sample.images[0].height_px) == (8, 6)


@pytest.mark.parametrize(
    ("gold", "letter"),
    [("A", "A"), ("(B)", "B"), ("B.", "B"), ("B. right", "B"), ("right", "B"), ("Right ", "B"), (0, "A"), (1, "B")],
)
def test_an_option_is_named_by_letter_text_or_place(tmp_path: Path, gold: Any, letter: str) -> None:
    sample = read_one(tmp_path, a_row(gold=gold))
    assert isinstance(sample, SpatialSample)
    assert sample.answer == ChoiceAnswer(letter=letter, num_options=2)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (a_row(gold="C"), "gold"),
        (a_row(gold="up"), "gold"),
        (a_row(gold=2), "gold"),
        (a_row(gold=True), "gold"),
        (a_row(gold=None), "gold"),
        (a_row(choices=["B", "A"]), "gold"),
        (a_row(choices=["1", "2"], gold=1), "gold"),
        (a_row(choices=["left"]), "choices"),
        (a_row(choices=["left", "left"]), "choices"),
        (a_row(choices="left, right"), "choices"),
        (a_row(q=None), "q"),
        (a_row(q=" <image> "), "q"),
        (a_row(q="<|vision_start|>?"), "question"),
        (a_row(uid=None), "uid"),
        (a_row(img="../train.jsonl"), "img"),
        (a_row(img="/etc/passwd"), "img"),
        (a_row(img="b.png"), "img"),
        (a_row(img=None), "img"),
        (a_row(img=[]), "images"),
    ],
)
def test_what_is_wrong_with_a_row_is_a_reject_named_after_its_column(tmp_path: Path, row: Row, column: str) -> None:
    reject = read_one(tmp_path, row)
    assert isinstance(reject, Reject)
    assert (reject.field, reject.line) == (column, 1)


@pytest.mark.parametrize("lettered", [["A. left", "B. right"], ["(A) left", "(B) right"], {"A": "left", "B": "right"}])
def test_options_with_letters_of_their_own_get_no_second_ones(tmp_path: Path, lettered: Any) -> None:
    sample = read_one(tmp_path, a_row(choices=lettered, gold="right"))
    assert isinstance(sample, SpatialSample)
    assert "\nA. left\nB. right\n" in sample.question
    assert sample.answer == ChoiceAnswer(letter="B", num_options=2)


@pytest.mark.parametrize(
    ("row", "settings", "answer", "written"),
    [
        ({"q": "<image>\nHow far?", "gold": "120 cm"}, {"unit": "m"}, NumberAnswer(value=1.2, unit="m"), "1.2 m"),
        ({"q": "How far?", "gold": 1.5}, {"unit": "m"}, NumberAnswer(value=1.5, unit="m"), "1.5 m"),
        ({"q": "Where?", "gold": 3}, {"unit": "oclock"}, NumberAnswer(value=3.0, unit="oclock"), "3 o'clock"),
        ({"q": "How many?", "gold": "3"}, {}, NumberAnswer(value=3.0, unit="count"), "3"),
        ({"q": "What?", "gold": "a cup"}, {}, TextAnswer(text="a cup"), "a cup"),
        ({"q": "What?", "gold": "a cup"}, {"unit": "m"}, TextAnswer(text="a cup"), "a cup"),
        ({"q": "What?", "gold": "3"}, {"answer_type": "text"}, TextAnswer(text="3"), "3"),
        ({"q": "Which? A. cup B. jug (C) pot", "gold": "C"}, {}, ChoiceAnswer(letter="C", num_options=3), "C"),
    ],
)
def test_without_options_an_answer_is_what_it_reads_as(
    tmp_path: Path, row: Row, settings: Row, answer: Any, written: str
) -> None:
    sample = read_one(tmp_path, a_row(**row), columns=columns(options=""), **settings)
    assert isinstance(sample, SpatialSample)
    assert sample.answer == answer
    assert sample.chains == {ReasoningPath.DIRECT: f"<answer>{written}</answer>"}
    assert "<image>" not in sample.question
    assert sample.kind == answer.type


@pytest.mark.parametrize(
    ("gold", "settings", "advice"),
    [
        ("far", {"answer_type": "number", "unit": "m"}, "cannot be read as a number in m"),
        ("A", {"answer_type": "choice"}, "no options: name their column"),
        ("<answer>", {}, "quotes a tag"),
    ],
)
def test_an_answer_of_another_type_than_was_said_is_a_reject(
    tmp_path: Path, gold: str, settings: Row, advice: str
) -> None:
    reject = read_one(tmp_path, a_row(gold=gold), columns=columns(options=""), **settings)
    assert isinstance(reject, Reject)
    assert reject.field == "gold"
    assert advice in reject.advice


def test_one_bad_line_costs_that_line(tmp_path: Path) -> None:
    lines = [json.dumps(a_row(uid=1)), "{broken", "[]", json.dumps(a_row(uid=1)), json.dumps(a_row(uid=2))]
    samples, rejects = split(write(tmp_path, "\n".join(lines)), tmp_path)
    assert [sample.sample_id for sample in samples] == ["train/1", "train/2"]
    assert [(reject.field, reject.line) for reject in rejects if reject.field != "sample_id"] == [
        ("line", 2),
        ("row", 3),
    ]
    assert [reject.field for reject in rejects].count("sample_id") == 1


def test_a_repeat_is_named_by_its_row_in_its_own_file(tmp_path: Path) -> None:
    lines = [json.dumps(a_row(uid=1)), json.dumps(a_row(uid=2))]
    write(tmp_path, "\n".join(lines), "hub-train-0.jsonl")
    config = write(tmp_path, "\n".join(reversed(lines)), "hub-train-1.jsonl").replace(file=tmp_path)
    samples, rejects = split(config, tmp_path)
    assert len(samples) == 2
    assert [(reject.file.name, reject.line, reject.field) for reject in rejects] == [
        ("hub-train-1.jsonl", 1, "sample_id"),
        ("hub-train-1.jsonl", 2, "sample_id"),
    ]


def test_an_array_of_json_is_read_like_its_lines(tmp_path: Path) -> None:
    lines, _ = split(write(tmp_path, [a_row()]), tmp_path)
    array, _ = split(write(tmp_path, json.dumps([a_row()], indent=1), "train.json"), tmp_path)
    assert array == lines


def test_a_column_that_is_not_there_is_refused_before_reading_with_the_nearest_name(tmp_path: Path) -> None:
    config = write(tmp_path, [a_row()])
    with pytest.raises(UnknownColumnError, match=r"columns.options='choice': .* 'choices'\?"):
        config.replace(columns=columns(options="choice")).read(ImageStore(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_a_config_needs_one_source_and_a_unit_for_numbers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="either file or hub"):
        HuggingFaceReader(file=tmp_path, hub="a/b", columns=columns())
    with pytest.raises(ValueError, match="either file or hub"):
        HuggingFaceReader(columns=columns())
    with pytest.raises(ValueError, match="unit"):
        HuggingFaceReader(file=tmp_path, columns=columns(), answer_type="number")


def a_table(file: Path, rows: list[Row], **features: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.Table.from_pylist(rows)
    if features:
        described = datasets.Features({**datasets.Features.from_arrow_schema(table.schema), **features})
        table = table.replace_schema_metadata(described.arrow_schema.metadata)
    pyarrow.parquet.write_table(table, file)


def test_images_within_a_table_are_stored_as_they_are(tmp_path: Path) -> None:
    cells: list[Row] = [{"bytes": png(1), "path": "inside.png"}, {"bytes": None, "path": "a.png"}]
    a_table(tmp_path / "test.parquet", [a_row(uid=n, img=cell) for n, cell in enumerate(cells)], img=datasets.Image())
    config = write(tmp_path, []).replace(file=tmp_path / "test.parquet")
    samples, rejects = split(config, tmp_path)
    assert not rejects
    store = ImageStore(tmp_path / "store")
    assert [store.path(sample.images[0]).read_bytes() for sample in samples] == [png(1), png()]


def test_bare_bytes_and_lists_of_images_are_images_too(tmp_path: Path) -> None:
    a_table(tmp_path / "test.parquet", [a_row(img=[png(1), png(2)])])
    samples, _ = split(write(tmp_path, []).replace(file=tmp_path / "test.parquet"), tmp_path)
    assert len(samples[0].images) == 2


def test_a_class_is_read_by_its_name(tmp_path: Path) -> None:
    a_table(tmp_path / "test.parquet", [a_row(gold=1)], gold=datasets.ClassLabel(names=["cup", "jug"]))
    config = write(tmp_path, []).replace(file=tmp_path / "test.parquet", columns=columns(options=""))
    samples, _ = split(config, tmp_path)
    assert samples[0].answer == TextAnswer(text="jug")


def test_tables_of_every_format_are_read(tmp_path: Path) -> None:
    config = write(tmp_path, []).replace(columns=columns(options=""), unit="m")
    table = datasets.Dataset.from_list([{"uid": 3, "q": "How far?", "gold": 1.5, "img": "a.png"}])
    table.to_csv(tmp_path / "t.csv")
    table.to_csv(tmp_path / "t.tsv", sep="\t")
    table.save_to_disk(tmp_path / "saved")
    for file in (tmp_path / "t.csv", tmp_path / "t.tsv", tmp_path / "saved"):
        (sample,), rejects = split(config.replace(file=file, split=""), tmp_path)
        assert sample.answer == NumberAnswer(value=1.5, unit="m")
        assert not rejects


def test_a_folder_is_read_by_the_word_for_its_split(tmp_path: Path) -> None:
    for name in ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-0.parquet"):
        a_table(tmp_path / "hub" / name, [a_row(uid=name, img=png())])
    (tmp_path / "hub/data/train-00001-of-00002.parquet").write_bytes(b"PAR1 broken")
    config = write(tmp_path, []).replace(file=tmp_path / "hub")
    samples, (reject,) = split(config, tmp_path)
    assert [sample.sample_id for sample in samples] == ["hub/data/train-00000-of-00002.parquet"]
    assert (reject.file.name, reject.field) == ("train-00001-of-00002.parquet", "row")
    with pytest.raises(FileNotFoundError, match=r"split='dev'.*test-0"):
        config.replace(split="dev").read(ImageStore(tmp_path / "store"))


def test_the_hub_is_its_cache_and_nothing_is_fetched(tmp_path: Path) -> None:
    commit = "0123456789" * 4
    repo = tmp_path / "cache/datasets--org--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs/main").write_text(commit)
    a_table(repo / "snapshots" / commit / "data/train-0.parquet", [a_row(img=png())])
    config = HuggingFaceReader(hub="org/name", hub_cache=tmp_path / "cache", columns=columns())
    (sample,), _ = split(config, tmp_path)
    assert (sample.sample_id, sample.domain) == ("org/name/3", "org/name")
    with pytest.raises(FileNotFoundError, match=r"cache has no data set org/other: fetch it .* allow_download"):
        config.replace(hub="org/other").read(ImageStore(tmp_path / "store"))


class Hub(BaseHTTPRequestHandler):
    """It has nothing, and remembers what it was asked for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    do_HEAD = do_GET  # noqa: N815


@pytest.mark.parametrize("allow_download", [False, True])
def test_the_hub_is_asked_only_if_that_is_allowed(tmp_path: Path, allow_download: bool) -> None:
    config = HuggingFaceReader(hub="org/x", hub_cache=tmp_path, columns=columns(), allow_download=allow_download)
    script = (
        "import sys; from corpora.readers.hugging_face import *; "
        "config = HuggingFaceReader.model_validate_json(sys.argv[1])"
    )
    Hub.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # The hub's address is read once, at import.
        environment = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "no_proxy": "*"}
        environment.pop("HF_HUB_OFFLINE", None)
        command = [sys.executable, "-c", f"{script}; config.read(None)", config.model_dump_json()]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        server.shutdown()
    assert "the hub's cache has no data set org/x" in done.stderr
    assert bool(Hub.asked) == allow_download


def test_a_card_that_names_addresses_is_not_followed(tmp_path: Path) -> None:
    a_table(tmp_path / "hub/train.parquet", [a_row(img=png())])
    card = "---\nconfigs:\n- config_name: default\n  data_files: https://example.invalid/train.parquet\n---\n"
    (tmp_path / "hub/README.md").write_text(card)
    samples, rejects = split(write(tmp_path, []).replace(file=tmp_path / "hub"), tmp_path)
    assert (len(samples), len(rejects)) == (1, 0)


@FEW
@given(data=st.data())
def test_whatever_stands_in_a_row_it_is_a_sample_or_a_reject(data: st.DataObject) -> None:
    rows = [a_row(uid=1), a_row(uid=2, gold=1), *({"uid": n} | a_row() for n in range(2))]
    lines = [json.dumps(row) for row in spoil(rows, data.draw)]
    text = "\n".join(lines) if data.draw(st.booleans()) else f"[{','.join(lines)}]"
    with tempfile.TemporaryDirectory() as folder:
        config = write(Path(folder), text[: data.draw(st.integers(0, len(text)))], "train.json")
        with contextlib.suppress(UnknownColumnError):  # nothing else is in the file
            split(config.replace(unit=data.draw(st.sampled_from([None, "m"]))), Path(folder))


@settings(FEW, max_examples=12)
@given(data=st.data())
def test_whatever_bytes_change_a_table_is_samples_or_rejects(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "t.parquet"
        a_table(file, [a_row(img=png()), a_row(uid=4, img=None)])
        content = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        split(HuggingFaceReader(file=file, columns=columns()), Path(folder))
