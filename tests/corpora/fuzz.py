"""What can be wrong with a file: any value in its place, any byte gone."""

import copy
import re
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from spatial.dataset import Reject
from spatial.sample import SpatialSample

FEW = settings(max_examples=50, deadline=None)
JUNK = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 10**400, 1e308, -1e308, float("nan"), float("inf"), "", "x", "../x", "/etc/passwd", "a\0b"]
    ),
    st.sampled_from(["<|image_pad|>", "<answer>", "\ud800", "x" * 5000, [], {}, [[]], [None] * 9, {"x": 1}, [1.0] * 3]),
    st.floats(),
    st.text(max_size=5),
)


def spoil(value: Any, draw: Any) -> Any:
    """A copy with something in it replaced by junk, gone, or doubled."""
    spoilt = copy.deepcopy(value)
    places = list(_places(spoilt))
    container, key = draw(st.sampled_from(places))
    match draw(st.sampled_from(["junk", "gone", "doubled"])):
        case "junk":
            container[key] = draw(JUNK)
        case "gone":
            del container[key]
        case "doubled" if isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
    return spoilt


def _places(value: Any) -> Any:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def check_items(items: Any, store: Path, is_binary: bool = False) -> list[SpatialSample | Reject]:
    """All of them, once they are what a reader may give, can be shown, and left nothing but images in the store.

    Args:
        is_binary: the rows came of spoilt bytes, whose parser may quote any of them.
    """
    found = list(items)
    for item in found:
        assert isinstance(item, (SpatialSample, Reject))
        if isinstance(item, SpatialSample):
            assert SpatialSample.model_validate_json(item.model_dump_json()) == item
        else:
            assert item.line >= 1
            assert item.field
            assert item.advice
            assert len(item.value) <= 60
            # Neither places nor numbers nor names of files: thousands of rows with one fault are one cause.
            assert is_binary or not re.search(r"(?<!\w)\d|/", item.cause.partition(": ")[2]), item.cause
            str(item).encode()
    for file in store.rglob("*"):
        assert file.is_dir() or file.stem[:2] == file.parent.name
    return found
