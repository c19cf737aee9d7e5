"""Files of JSON lines that a run appends to, and files that it replaces as a whole; also on a disk that fills up."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from spatial.json_lines import CUT_SHORT, read_lines, read_object, to_json
from spatial.whole_files import write_whole
from vlm.files import is_for_want_of_space, no_space

_log = logging.getLogger(__name__)


def append(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Add a line for each row. A last line that a crash left unfinished is dropped first.

    Raises:
        OSError: the file cannot be written; a full disk is named as the cause.
    """
    with _naming_a_full_disk(path):
        _end_last_line(path)
        with path.open("a") as file:
            file.writelines(to_json(row) + "\n" for row in rows)


def replace(path: Path, lines: Iterable[str]) -> None:
    """Replace the file at once: a reader finds the old one or the new one, whole.

    Raises:
        OSError: as for `append`; the old file is still there.
    """
    with _naming_a_full_disk(path):
        write_whole(path, lines)


def keep_steps(path: Path, last_step: int) -> None:
    """Drop the rows of steps after `last_step`, and rows without a step."""
    kept = [row for row in read_lines(path) if isinstance(row.get("step"), int) and row["step"] <= last_step]
    replace(path, (to_json(row) + "\n" for row in kept))


@contextmanager
def _naming_a_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_for_want_of_space(error, path.parent):
            raise OSError(error.errno, no_space(path)) from None
        raise


def _end_last_line(path: Path) -> None:
    """Drop what a crash left of a last line: the next one would be glued to it."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0 or (file.seek(size - 1) and file.read(1) == b"\n"):
            return
        file.seek(0)
        last = file.read().rpartition(b"\n")[2]
        if read_object(last) is not None:  # whole, but for its end
            file.write(b"\n")
        else:
            file.truncate(size - len(last))
            _log.warning(CUT_SHORT, path)
