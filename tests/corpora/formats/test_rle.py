"""COCO's run-length encoding, against its published coding and against bombs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpora.formats.rle import box_around, read_rle
from corpora.rows import RowError
from tests.corpora.fuzz import FEW


def write_rle(runs: list[int]) -> str:
    """COCO's coding, the other way: the numbers as differences, in groups of five bits."""
    text = ""
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != -1 if bits & 0x10 else value != 0
            text += chr(48 + (bits | (0x20 if more else 0)))
    return text


def test_a_string_is_read_as_coco_writes_it() -> None:
    # By hand: 3 outside, 2 inside, 1 outside, then differences to the last but one: 4-2, 2-1.
    assert read_rle("32121", (3, 4), (3, 4), "rle") == (3, 2, 1, 4, 2)


@FEW
@given(runs=st.lists(st.integers(0, 100_000), min_size=1, max_size=20))
def test_reading_undoes_writing(runs: list[int]) -> None:
    total = sum(runs)
    if total:
        assert read_rle(write_rle(runs), (total, 1), (total, 1), "rle") == tuple(runs)


@pytest.mark.parametrize(
    ("counts", "size", "field"),
    [
        ("32121", [10**9, 10**9], "rle.0.size"),
        ("32121", [4, 3], "rle.0.size"),
        ("3212", [3, 4], "rle.0.counts"),
        ("32121é", [3, 4], "rle.0.counts"),
        ("3212q", [3, 4], "rle.0.counts"),
        ("3212" + "o" * 50 + "0", [3, 4], "rle.0.counts"),
        ("o" * 2_000_000, [3, 4], "rle.0.counts"),
        ("", [3, 4], "rle.0.counts"),
        ([3, -2, 11], [3, 4], "rle.0.counts"),
        ([3, 2, 10**30], [3, 4], "rle.0.counts"),
    ],
)
def test_what_does_not_fit_the_image_is_refused_by_name(counts: str | list[int], size: list[int], field: str) -> None:
    with pytest.raises(RowError) as caught:
        read_rle(counts, size, (3, 4), "rle.0")
    assert caught.value.field == field


def test_a_box_goes_around_the_inside() -> None:
    # Height 3: the runs inside are pixels 4 (column 1, row 1) and 6 to 8 (column 2, all rows).
    assert box_around((4, 1, 1, 3, 3), height_px=3) == (1.0, 0.0, 3.0, 3.0)
    assert box_around((4, 1, 7), height_px=3) == (1.0, 1.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="empty"):
        box_around((12,), height_px=3)
