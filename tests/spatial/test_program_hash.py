"""A program is known again by its code."""

from pathlib import Path

from spatial.program_hash import QUESTION_SOURCES, program_hash


def test_the_hash_changes_with_the_code_of_a_folder_and_with_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.py").write_text("a = 1")
    (tmp_path / "one.py").write_text("b = 2")
    before = program_hash(folder, tmp_path / "one.py")
    (folder / "notes.txt").write_text("not code")
    assert program_hash(folder, tmp_path / "one.py") == before
    (folder / "inner" / "a.py").write_text("a = 3")
    assert program_hash(folder, tmp_path / "one.py") != before


def test_the_hash_of_questions_covers_every_file_that_a_kind_of_question_is_written_in() -> None:
    spatial = Path(__file__).parents[2] / "spatial"
    assert {"questions", "scenes"} <= {source.name for source in QUESTION_SOURCES}
    assert all(source.exists() and source.parent == spatial for source in QUESTION_SOURCES)
