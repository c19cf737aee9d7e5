"""Reading a file that grows, and may be replaced, line by line."""

from collections.abc import Iterator
from pathlib import Path

_CHUNK_BYTES = 1 << 22


class GrowingFile:
    """The lines of a file as they come. A line counts once its end is written.

    A file that was replaced or became shorter (a resumed run drops steps that it makes again) is read anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity: int | None = None
        self._offset = 0

    def was_replaced(self) -> bool:
        """Whether what was read is not what is there now; if so, the next `new_lines` begins at the top."""
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
        """Where each line begins, in bytes, and the line without its end."""
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
