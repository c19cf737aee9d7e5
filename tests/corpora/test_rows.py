"""What all readers stand on."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpora.formats.image_files import inside
from corpora.formats.json_rows import json_array, json_lines
from corpora.rows import RowError
from tests.corpora.fuzz import FEW


def test_a_line_that_is_no_json_costs_that_line_alone(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n\n{"a": \n\xff\xfe\n{"a": 2}')
    found = dict(json_lines(file))
    assert found[1] == {"a": 1}
    assert found[5] == {"a": 2}
    assert [number for number, row in found.items() if isinstance(row, RowError)] == [3, 4]


def test_an_array_is_read_to_its_end_past_a_number_of_any_size(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text('[{"a": 1}, {"a": ' + "9" * 40 + '}, {"a": 3}]')
    assert [row["a"] for _, row in json_array(file)] == [1, 10**40 - 1, 3]
    assert [number for number, _ in json_array(file)] == [1, 2, 3]


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("num_before", [0, *range(4066, 4088)])
def test_a_number_that_is_none_costs_no_other_row(tmp_path: Path, written: str, num_before: int) -> None:
    file = tmp_path / "rows.json"
    text = f'[{{"a": "NaN {"x" * num_before}", "b": {written}}}, {{"a": "Infinity, NaN", "b": [1, {written}]}}]'
    file.write_text(text)
    rows = [row for _, row in json_array(file)]
    assert rows == [{"a": "NaN " + "x" * num_before, "b": written}, {"a": "Infinity, NaN", "b": [1, written]}]


def test_an_array_that_breaks_off_ends_with_one_named_row(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text('[{"a": 1}, {"a": 2}, {"a"')
    *whole, (number, last) = json_array(file)
    assert whole == [(1, {"a": 1}), (2, {"a": 2})]
    assert number == 3
    assert isinstance(last, RowError)


@FEW
@given(texts=st.lists(st.text(alphabet='[{"\\\\]}x', max_size=50), min_size=1, max_size=5))
def test_brackets_in_texts_are_no_depth(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    # Longer than a piece that is read at once; masks hold as many brackets, and close few of them.
    rows = [[text * 100, "[" * 5000, [[text]]] for text in texts]
    file = tmp_path_factory.mktemp("rows") / "rows.json"
    file.write_text(json.dumps(rows))
    assert [row for _, row in json_array(file)] == rows


def test_brackets_that_nest_too_deep_end_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text('["]]]]\\"]", ' + "[" * 2000)
    *_, (_, last) = json_array(file)
    assert isinstance(last, RowError)
    assert "nested more than 1000 deep" in last.advice


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "folder/../../secret", "link/secret", "a\0b", "x" * 5000, ""]
)
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text("s")
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(RowError, match="image"):
        inside(root, name, "image")


def test_outside_files_are_read_where_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "other.png").write_text("s")
    assert inside(tmp_path / "root", "../other.png", "image", allow_outside=True).is_file()


def test_a_name_that_no_file_can_have_is_a_named_reject(tmp_path: Path) -> None:
    for name in ("a\0.png", "\ud800.png"):
        with pytest.raises(RowError, match=r"a file name cannot contain|no file name can contain"):
            inside(tmp_path, name, "image")
