"""Samples read when they are asked for: the same ones in the same order as from memory, and few bytes of each kept."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.config import TrainingConfig
from actors.loop.lane import make_lanes
from spatial.dataset import BadDataError, open_samples
from spatial.images import ImageStore
from spatial.sample import ReasoningPath
from tests.corpora.fuzz import FEW, spoil
from tests.samples import load_samples

Row = dict[str, Any]


def lay_out(root: Path, num: int) -> tuple[ImageStore, list[Row]]:
    """An image store, and rows about its one image: every third may be asked through DTR too, kinds "a" and "b"."""
    store = ImageStore(root / "images")
    image = store.put(np.zeros((8, 8, 3), np.uint8)).model_dump()
    rows = [
        {
            "sample_id": f"s{index}", "domain": "test", "kind": "ab"[index % 2], "images": [image],
            "paths": ["lor", "dtr"] if index % 3 == 0 else ["lor"], "question": f"How far is number {index}?",
            "answer": {"type": "number", "value": index, "unit": "m"},
            "regions": [{"mark": "red", "box_xyxy_px": [1, 1, 4, 4], "center_m": [0, 0, 1.5]}],
        }
        for index in range(num)
    ]  # fmt: skip
    return store, rows


def write(root: Path, rows: list[Row]) -> Path:
    file = root / "rows.jsonl"
    text = "".join(json.dumps(row) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    return file


def test_prompts_from_a_file_come_in_the_order_of_those_from_memory(tmp_path: Path) -> None:
    store, rows = lay_out(tmp_path, num=50)
    file = write(tmp_path, rows)
    config = TrainingConfig(
        num_steps=1, groups_per_step={ReasoningPath.LOR: 2, ReasoningPath.DTR: 2}, kinds={ReasoningPath.LOR: ("b",)}
    )
    lanes, in_memory = (
        make_lanes(samples, config, seed=7)
        for samples in (open_samples(file, store).samples, load_samples(file, store).samples)
    )
    wanted = {
        ReasoningPath.LOR: [row["sample_id"] for row in rows if row["kind"] == "b"],
        ReasoningPath.DTR: [row["sample_id"] for row in rows if "dtr" in row["paths"]],
    }
    for path, names in wanted.items():
        feed = lanes[path].feed
        assert len(feed) == len(names)
        order = [
            names[place]
            for epoch in range(3)
            for place in np.random.default_rng([7, list(ReasoningPath).index(path), epoch]).permutation(len(names))
        ]
        assert [feed[index].sample_id for index in range(len(order))] == order
        assert [in_memory[path].feed[index].sample_id for index in range(len(order))] == order


def test_a_sample_costs_few_bytes_of_memory_however_long_its_line(tmp_path: Path) -> None:
    def memory(num: int) -> tuple[int, int]:
        """Bytes that an opened file keeps, and the most that opening and reading it took."""
        store, rows = lay_out(tmp_path, num)
        # The parser keeps short texts, up to a bound: these are long.
        long = [row | {"sample_id": f"{row['sample_id']:>80}", "question": f"{row['question']:>1000}"} for row in rows]
        file = write(tmp_path, long)
        tracemalloc.start()
        samples = open_samples(file, store).samples
        kept, _ = tracemalloc.get_traced_memory()
        assert all(samples[place].question.endswith(f"number {place}?") for place in range(num))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return kept, most

    memory(10)  # what is made once
    (kept_of_few, most_of_few), (kept_of_many, most_of_many) = memory(2000), memory(12_000)
    assert (kept_of_many - kept_of_few) / 10_000 < 10
    assert (most_of_many - most_of_few) / 10_000 < 50


def test_an_id_that_comes_again_costs_its_line_however_far_apart(tmp_path: Path) -> None:
    store, rows = lay_out(tmp_path, num=300)
    opened = open_samples(write(tmp_path, [*rows, rows[7], rows[299]]), store)
    assert [(reject.line, reject.advice.split(" has")[0]) for reject in opened.rejects] == [
        (301, "line 8"),
        (302, "line 300"),
    ]
    assert [sample.sample_id for sample in opened.samples] == [row["sample_id"] for row in rows]


def test_places_stay_right_past_empty_lines_other_line_ends_and_wide_characters(tmp_path: Path) -> None:
    store, rows = lay_out(tmp_path, num=3)
    rows[0]["question"] = "Wie weit ist die Tür — 5 m, «é», 椅子?"
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\r\n" + lines[0] + b"\r\n \n\xff\n" + lines[1] + b"\n" + lines[2])
    opened = open_samples(file, store, max_bad_share=0.5)
    assert [opened.samples[place].question for place in (2, 0, 1)] == [rows[place]["question"] for place in (2, 0, 1)]
    assert [reject.line for reject in opened.rejects] == [4]


@FEW
@given(data=st.data())
def test_every_line_is_a_sample_or_a_named_reject(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    store, rows = lay_out(tmp_path_factory.mktemp("spoilt"), num=4)
    file = write(store.root.parent, [spoil(rows[0], data.draw), rows[1], spoil(rows[2], data.draw), rows[3]])
    opened = open_samples(file, store, max_bad_share=0.9)
    assert len(opened.samples) + len(opened.rejects) == 4
    assert tuple(opened.samples) == load_samples(file, store, max_bad_share=0.9).samples
    assert all(reject.field and reject.advice and str(reject).encode() for reject in opened.rejects)


def test_too_many_bad_lines_are_reported_before_any_sample_is_read(tmp_path: Path) -> None:
    store, rows = lay_out(tmp_path, num=10)
    with pytest.raises(BadDataError, match=r"1 of 10 samples are bad, and at most 5\.0% may be"):
        open_samples(write(tmp_path, [*rows[:9], rows[0]]), store, max_bad_share=0.05)
