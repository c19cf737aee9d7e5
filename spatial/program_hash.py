"""A hash of the program's code, so that what an older version made is not taken for this version's."""

import hashlib
from pathlib import Path

_HERE = Path(__file__).parent
QUESTION_SOURCES = tuple(_HERE / name for name in ("scenes", "questions", "grammar.py", "places.py"))
"""The code that the scenes, their questions and the text of the answers come from."""


def program_hash(*parts: Path) -> str:
    """A hash of Python code: of files, and of all Python files in folders and below, in order of their names."""
    files = [file for part in parts for file in (sorted(part.rglob("*.py")) if part.is_dir() else [part])]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
