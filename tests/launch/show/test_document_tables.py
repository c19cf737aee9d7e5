"""Tables in documents that are made from classes hold what the classes say."""

from pathlib import Path

import pytest

from launch.show.document_tables import FILES, with_tables


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.name))
def test_tables_of_documents_are_those_of_the_classes(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert "<!-- table: " in text
    assert with_tables(text) == text, "run .venv/bin/python -m launch.show.document_tables"
