"""Which program made a file: what an older one made must not pass for this one's."""

import hashlib
from pathlib import Path

_HERE = Path(__file__).parent
QUESTION_SOURCES = tuple(_HERE / name for name in ("scenes", "questions", "grammar.py", "places.py"))
"""The code that the scenes, their questions and the text of the answers come from."""


def program_hash(*parts: Path) -> str:
    """A digest of source code: files as they are, folders with all Python files in them, in order of their names."""
    files = [file for part in parts for file in (sorted(part.rglob("*.py")) if part.is_dir() else [part])]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
