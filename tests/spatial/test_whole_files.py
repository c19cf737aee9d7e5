"""A file is there whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spatial.whole_files import write_whole


@pytest.mark.parametrize("content", ["a\nbé\n", "a\nbé\n".encode(), ["a\n", "bé\n"]])
def test_text_bytes_and_pieces_are_written_as_they_are(tmp_path: Path, content: str | bytes | list[str]) -> None:
    write_whole(tmp_path / "file.txt", content)
    assert (tmp_path / "file.txt").read_bytes() == "a\nbé\n".encode()
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def test_what_fails_half_way_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    write_whole(file, "former")

    def pieces() -> Iterator[str]:
        yield "half of the new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(file, pieces())
    assert file.read_text() == "former"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]
