"""Files that are there whole or not at all, whatever happens while they are written."""

import os
from collections.abc import Iterable
from pathlib import Path


def write_whole(file: Path, content: str | bytes | Iterable[str]) -> None:
    """Write a file at once: a reader, and whoever comes after a crash, finds the old one or the new one.

    Args:
        content: text, written as UTF-8; or pieces of it, one after another, so that it need not fit into memory.
    """
    # The process is named, for several may write the same file.
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    pieces = [content] if isinstance(content, str | bytes) else content
    try:
        with temporary.open("wb") as opened:
            opened.writelines(piece if isinstance(piece, bytes) else piece.encode() for piece in pieces)
        temporary.replace(file)
    except BaseException:  # an interrupt too leaves nothing behind
        temporary.unlink(missing_ok=True)
        raise
