"""OpenSpatialDataset's conversations, written here in their layout."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from corpora.readers.open_spatial import OpenSpatialReader
from spatial.dataset import Reject
from spatial.images import ImageStore
from spatial.sample import NumberAnswer, ReasoningPath, SpatialSample, TextAnswer
from tests.corpora.formats.test_rle import write_rle
from tests.corpora.fuzz import FEW, check_items, spoil

Row = dict[str, Any]
HEIGHT, WIDTH = 8, 12


def rle(first: int) -> dict[str, Any]:
    """Four pixels down from pixel `first` of the first column."""
    return {"size": [HEIGHT, WIDTH], "counts": write_rle([first, 4, HEIGHT * WIDTH - first - 4])}


def a_row(**changes: Any) -> Row:
    """Three questions; the second speaks of the second and third mask of the conversation."""
    said = [
        ("<image>\nHow tall is <mask> <depth>?", "Region [0] is 1.5 meters tall."),
        ("Is <mask> <depth> wider than <mask> <depth>?", "Yes, Region [0] is wider than Region [1]."),
        ("Which of these two, <mask> <depth> or <mask> <depth>, is taller?", "Region [1] is the taller one."),
    ]
    return {
        "filename": "da0f",
        "conversations": [
            {"from": speaker, "value": text}
            for turn in said
            for speaker, text in zip(("human", "gpt"), turn, strict=True)
        ],
        "bbox": [[index, 0, index + 1, 4] for index in range(5)],
        "rle": [rle(index) for index in range(5)],
        **changes,
    }  # fmt: skip


def read_rows(root: Path, *rows: Any, text: str | None = None, **settings: Any) -> list[SpatialSample | Reject]:
    (root / "images").mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(root / "images/da0f.jpg")
    file = root / "rows.json"
    file.write_text(json.dumps(list(rows)) if text is None else text, encoding="utf-8", errors="surrogatepass")
    config = OpenSpatialReader(file=file, images=root / "images", **settings)
    return check_items(config.read(ImageStore(root / "store")), root / "store")


def test_each_question_is_a_sample_with_the_regions_that_it_names(tmp_path: Path) -> None:
    height, wider, taller = read_rows(tmp_path, a_row())
    assert isinstance(height, SpatialSample)
    assert isinstance(wider, SpatialSample)
    assert isinstance(taller, SpatialSample)
    assert height.question == "How tall is region 1?"
    assert height.answer == NumberAnswer(value=1.5, unit="m")
    assert (height.sample_id, height.kind, height.paths) == (
        "open_spatial/da0f/0",
        "m",
        (ReasoningPath.LOR, ReasoningPath.DTR),
    )
    assert wider.question == "Is region 1 wider than region 2?"
    assert wider.answer == TextAnswer(text="yes")
    assert [(r.label, r.box_xyxy_px) for r in wider.regions] == [
        ("region 1", (1.0, 0.0, 2.0, 4.0)),
        ("region 2", (2.0, 0.0, 3.0, 4.0)),
    ]
    assert wider.regions[1].rle_counts == (2, 4, HEIGHT * WIDTH - 6)
    assert taller.answer == TextAnswer(text="region 2")
    assert taller.regions[0].rle_counts == (3, 4, HEIGHT * WIDTH - 7)


def test_a_repeat_is_named_by_its_row_though_rows_have_several_questions(tmp_path: Path) -> None:
    found = read_rows(tmp_path, a_row(), a_row(conversations=a_row()["conversations"]))
    assert [(reject.line, reject.field) for reject in found if isinstance(reject, Reject)] == [(2, "sample_id")] * 3


def test_without_boxes_they_go_around_the_masks_and_without_masks_the_boxes_stay(tmp_path: Path) -> None:
    masked = read_rows(tmp_path, a_row(bbox=[]))[0]
    boxed = read_rows(tmp_path, a_row(rle=[]))[0]
    assert isinstance(masked, SpatialSample)
    assert isinstance(boxed, SpatialSample)
    assert masked.regions[0].box_xyxy_px == (0.0, 0.0, 1.0, 4.0)
    assert boxed.regions[0].rle_counts is None


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        ("It is roughly 120 cm from Region [0].", NumberAnswer(value=1.2, unit="m")),
        ("About 3 feet.", NumberAnswer(value=0.9144, unit="m")),
        ("Region [0] is at 4 o'clock.", NumberAnswer(value=4.0, unit="oclock")),
        ("no, it is not", TextAnswer(text="no")),
    ],
)
def test_an_answer_within_a_sentence_is_typed(tmp_path: Path, answered: str, expected: Any) -> None:
    row = a_row()
    row["conversations"][1]["value"] = answered
    found = read_rows(tmp_path, row)[0]
    assert isinstance(found, SpatialSample)
    assert found.answer.model_dump() == pytest.approx(expected.model_dump())


PREDICATE = "Is <mask> <depth> wider than <mask> <depth>?"
SIDE = "Does <mask> <depth> appear on the left side of <mask> <depth>?"
CHOICE = "Between <mask> <depth> and <mask> <depth>, which one is closer?"
DISTANCE = "How far apart are <mask> <depth> and <mask> <depth> vertically?"


@pytest.mark.parametrize(
    ("asked", "answered", "expected"),
    [
        (PREDICATE, "Indeed, Region [0] has a greater width compared to Region [1].", "yes"),
        (PREDICATE, "Correct, the width of Region [0] exceeds that of Region [1].", "yes"),
        (PREDICATE, "That is True.", "yes"),
        (PREDICATE, "In fact, Region [0] might be narrower than Region [1].", "no"),
        (PREDICATE, "Actually, Region [0] might be smaller than Region [1].", "no"),
        (PREDICATE, "Incorrect, Region [0]'s width does not surpass Region [1]'s.", "no"),
        (PREDICATE, "That is False.", "no"),
        (PREDICATE, "No, by 2 meters.", "no"),
        (SIDE, "Region [0] and Region [1] are horizontally aligned.", "no"),
        (CHOICE, "Positioned to the left is Region [1].", "region 2"),
        (CHOICE, "In fact, Region [1].", "region 2"),
        (CHOICE, "Region [1] is closer to the camera than Region [0].", "region 2"),
        (CHOICE, "Region [1] is farther from the camera than Region [0].", None),
        (CHOICE, "Not Region [1].", None),
        ("What colour is <mask> <depth>?", "Region [0] is red.", None),
        (DISTANCE, "Region [0] is 4.92 feet (1.5 meters) from Region [1] vertically.", 1.5),
        (DISTANCE, "There is no vertical gap, as Region [0] is directly beneath and supporting Region [1].", 0.0),
        (DISTANCE, "Because Region [0] and Region [1] overlap vertically, figuring out the distance is hard.", None),
        (
            "If you are at <mask>, where will you find <mask>?",
            "Region [1] is roughly at 4 o'clock from Region [0].",
            4.0,
        ),
        (DISTANCE, "There are 2 in Region [0].", None),
    ],
)
def test_every_template_that_has_an_answer_gives_it(tmp_path: Path, asked: str, answered: str, expected: Any) -> None:
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
    num_masks = asked.count("<mask>")
    row = a_row(conversations=turns, bbox=[[n, 0, n + 1, 4] for n in range(num_masks)], rle=[])
    (found,) = read_rows(tmp_path, row)
    if expected is None:
        assert isinstance(found, Reject)
    else:
        assert isinstance(found, SpatialSample)
        assert getattr(found.answer, "text", getattr(found.answer, "value", None)) == expected


def test_a_sentence_costs_its_question_alone_unless_it_is_kept(tmp_path: Path) -> None:
    row = a_row()
    row["conversations"][1]["value"] = "It might be 2 meters or 3 meters, as tall as Region [0]."
    first, *others = read_rows(tmp_path, row)
    assert isinstance(first, Reject)
    assert (first.line, first.field) == (1, "conversations.1.value")
    assert all(isinstance(item, SpatialSample) for item in others)
    kept = read_rows(tmp_path, row, keep_sentences=True)[0]
    assert isinstance(kept, SpatialSample)
    assert kept.answer == TextAnswer(text="It might be 2 meters or 3 meters, as tall as region 1.")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"bbox": [[0, 0, 1, 4]]}, "bbox"),
        ({"bbox": [], "rle": []}, "bbox"),
        ({"filename": "../da0f"}, "filename"),
        ({"filename": "/etc/passwd"}, "filename"),
        ({"filename": "gone"}, "filename"),
        ({"conversations": a_row()["conversations"][:3]}, "conversations"),
        ({"conversations": a_row()["conversations"][::-1]}, "conversations.0.from"),
    ],
)
def test_a_row_that_contradicts_itself_is_one_named_reject(tmp_path: Path, changes: Row, field: str) -> None:
    (found,) = read_rows(tmp_path, a_row(**changes))
    assert isinstance(found, Reject)
    assert (found.line, found.field) == (1, field)


@pytest.mark.parametrize(
    "bad",
    [
        {"size": [10**9, 10**9], "counts": "0" * 99},
        {"size": [HEIGHT, WIDTH], "counts": "zz"},
        rle(0) | {"counts": [96]},
    ],
)
def test_a_mask_that_does_not_fit_costs_its_question(tmp_path: Path, bad: Row) -> None:
    first, *others = read_rows(tmp_path, a_row(rle=[bad, *(rle(index) for index in range(1, 5))]))
    assert isinstance(first, Reject)
    assert first.field.startswith("rle.0")
    assert len(others) == 2


@FEW
@given(data=st.data())
def test_a_spoilt_row_is_samples_or_rejects(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    found = read_rows(tmp_path_factory.mktemp("spoilt"), spoil(a_row(), data.draw), a_row())
    assert len(found) >= 1


@FEW
@given(cut=st.integers(1, 600))
def test_a_file_that_breaks_off_ends_with_a_reject(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    text = json.dumps([a_row(), a_row(filename="da0f")])
    found = read_rows(tmp_path_factory.mktemp("cut"), text=text[:-cut])
    assert isinstance(found[-1], Reject)
    assert isinstance(found[0], SpatialSample)
