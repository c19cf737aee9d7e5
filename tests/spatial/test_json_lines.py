"""What is written is JSON for whoever reads it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from spatial.json_lines import finite, read_lines, read_object, to_json


def strict(text: str) -> object:
    """As JavaScript, orjson and others read it: NaN and Infinity are no JSON."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def test_numbers_that_json_has_no_word_for_become_null_wherever_they_are() -> None:
    row = {"a": math.nan, "b": [1.0, math.inf, {"c": (-math.inf, "NaN")}], "d": 2, "e": True, "f": None}
    assert strict(to_json(row)) == {"a": None, "b": [1.0, None, {"c": [None, "NaN"]}], "d": 2, "e": True, "f": None}


def test_numbers_of_numpy_and_torch_become_plain() -> None:
    row = {"a": np.float32(0.5), "b": np.int64(3), "c": torch.tensor(0.25), "d": np.array([1, 2]), "e": np.bool_(True)}
    assert strict(to_json(row)) == {"a": 0.5, "b": 3, "c": 0.25, "d": [1, 2], "e": True}
    odd = {"a": np.float32("nan"), "b": torch.tensor([math.inf, 1.0]), "c": np.float64("inf")}
    assert strict(to_json(odd)) == {"a": None, "b": [None, 1.0], "c": None}
    assert type(finite({"a": np.float64(0.5)})["a"]) is float


def test_what_has_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match="object cannot be written as JSON"):
        to_json({"a": object()})


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b"null", b"3", b"\xff\xfe", b'{"a": NaM}', b'{"a": 1} {"b": 2}'])
def test_a_line_that_holds_no_object_is_none(line: bytes) -> None:
    assert read_object(line) is None


def test_a_bad_line_is_passed_over_with_its_place_and_what_others_wrote_for_nan_is_null(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "loss": NaN}\nwords\n{"step": 2, "loss": -Infinity}\n')
    assert read_lines(file) == [{"step": 1, "loss": None}, {"step": 2, "loss": None}]
    (record,) = caplog.records
    assert f"{file}:2" in record.getMessage()
