"""Reads a file that grows, and may be replaced, line by line."""

from collections.abc import Iterator
from pathlib import Path

_CHUNK_BYTES = 1 << 22


class GrowingFile:
    """The lines of a file as they are added. A line counts once it is complete.

    A file that was replaced or became shorter is read from the start. (A resumed run drops steps that it repeats.)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity: int | None = None
        self._offset = 0

    def was_replaced(self) -> bool:
        """Whether the file is another one than was read so far. If so, the next `new_lines` begins at its start."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            is_new = self._offset > 0
            self._identity, self._offset = None, 0
            return is_new
        is_other = self._identity is not None and (found.st_ino != self._identity or found.st_size < self._offset)
        if is_other or self._identity is None:
            self._identity, self._offset = found.st_ino, 0
        return is_other

    def new_lines(self) -> Iterator[tuple[int, bytes]]:
        """The byte offset of each new line, and the line without its line break."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            rest = b""
            while chunk := file.read(_CHUNK_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield self._offset, line
                    self._offset += len(line) + 1
