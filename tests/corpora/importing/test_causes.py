"""Rows that are left out are counted by what is wrong with them."""

import json
from pathlib import Path
from typing import Any

import pytest

from corpora.importing.import_data import ImportConfig, import_data
from corpora.readers.registry import AnyReader
from corpora.readers.sr_real import SrRealReader
from spatial.dataset import BadDataError, Reject
from tests.corpora.marked_rows import a_row, lay_out, turns


@pytest.mark.parametrize(
    ("field", "advice", "cause"),
    [
        ("image.3", "there is no file '/sets/my images/a 7.png'", "image: there is no file …"),
        ("conversations.11.value", "a sentence", "conversations.value: a sentence"),
        ("mask_idx.2", "the row has 3 images", "mask_idx: the row has … images"),
        ("blue_point", "a colour marks one thing", "point: a colour marks one thing"),
        ("3d_pos.red_bbox.center_cam", "is elsewhere", "3d_pos.bbox.center_cam: is elsewhere"),
        ("bbox.0", "the red point lies elsewhere", "bbox: the … lies elsewhere"),
        ("a", "an image's box of 12x8.5 px, [1, [2, 3]], can't be 'x'", "a: an image's box of … px, […], can't be …"),
        ("a", "put data/9f/9f86d081884c.png in place", "a: put … in place"),
        ("a", "cannot identify image file <_io.BytesIO object at 0x7fcd>", "a: cannot identify image file …"),
        ("a", "sha 9f86d081884c7d65… differs: char -1,234.5", "a: sha … differs: char …"),
        ("a", "an image of 2.02365e-125x9 px", "a: an image of … px"),
        ("a", "-1.2E-5 or 1e+30 where b'60I' is", "a: … or … where … is"),
    ],
)
def test_a_cause_has_no_place_name_or_value(field: str, advice: str, cause: str) -> None:
    for line in (1, 77):
        found = Reject(Path(f"rows-{line}.json"), line, field, repr(line), advice).cause
        assert found == cause.replace("[…]", "…")


def config(root: Path, rows: list[Any], **changes: Any) -> ImportConfig:
    reader: AnyReader = SrRealReader(file=lay_out(root, rows), images=root / "images")
    return ImportConfig(out=root / "out", readers=(reader,), validation_share=0, test_share=0, **changes)


def test_one_fault_at_many_places_is_one_cause(tmp_path: Path) -> None:
    good = [a_row(id=f"good{n}") for n in range(5)]
    lost = [a_row(id=n, image=["a.png", f"lost {n}.png"][:: 1 - 2 * (n % 2)]) for n in range(7)]
    far = [a_row(id=f"far{n}", conversations=turns("How far?", f"{n} to {n + 1} meters")) for n in range(2)]
    report = import_data(config(tmp_path, [*far, *lost, *good], max_bad_share=0.9))
    assert list(report.rejects.values()) == [7, 2]
    assert next(iter(report.rejects)) == "image: there is no file …"
    assert set(report.examples) == set(report.rejects)
    assert json.loads((tmp_path / "out/report.json").read_text())["rejects"] == report.rejects


def test_too_many_bad_rows_are_told_by_cause(tmp_path: Path) -> None:
    lost = [a_row(id=n, image=["a.png", f"lost{n}.png"]) for n in range(3)]
    with pytest.raises(
        BadDataError, match=r"3 of 4 rows are bad.*\n  3 × image: there is no file …\n    such as .*lost0"
    ):
        import_data(config(tmp_path, [a_row(), *lost]))
