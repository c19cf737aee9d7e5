"""Writing files atomically: they are there whole or not at all."""

import os
from collections.abc import Iterable
from pathlib import Path


def write_whole(file: Path, content: str | bytes | Iterable[str]) -> None:
    """Write a file atomically: a reader finds the old content or the new, even after a crash.

    Args:
        content: bytes, text (written as UTF-8), or pieces of text, so that it need not fit into memory.
    """
    # Named after the process, since several may write the same file.
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    pieces = [content] if isinstance(content, str | bytes) else content
    try:
        with temporary.open("wb") as opened:
            opened.writelines(piece if isinstance(piece, bytes) else piece.encode() for piece in pieces)
        temporary.replace(file)
    except BaseException:  # an interrupt leaves nothing behind either
        temporary.unlink(missing_ok=True)
        raise
