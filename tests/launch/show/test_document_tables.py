"""Parts of documents that follow from classes say what the classes say."""

from pathlib import Path

import pytest

from launch.show.document_tables import FILES, PARTS, with_parts


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.name))
def test_parts_of_documents_are_those_of_the_classes(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert "<!-- from classes: " in text
    assert with_parts(text) == text, "run .venv/bin/python -m launch.show.document_tables"


def test_what_stands_between_the_signs_is_replaced_and_nothing_else() -> None:
    text = "a <!-- from classes: benchmark-names -->old\nnames<!-- end -->. b"
    assert with_parts(text) == f"a <!-- from classes: benchmark-names -->{PARTS['benchmark-names']()}<!-- end -->. b"
