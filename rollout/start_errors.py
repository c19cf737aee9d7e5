"""Why an engine does not start. vLLM's own error only says that one of its processes failed; the reason is in that
process's log. So while an engine starts, each of its processes also writes the errors that it logs to a file."""

import logging
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout.errors import in_one_line

_VARIABLE = "SR_REAL_START_ERRORS"
# vLLM's words for a process that a signal ended: "{'EngineCore': -9}".
_SIGNAL = re.compile(r": -(\d+)\b")


class StartErrors:
    """The errors of the processes of one start."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def reason(self, error: BaseException) -> str:
        """Why a start failed that raised `error` here: the first error that any of its processes logged, if one did."""
        earlier = self._file.read_text(encoding="utf-8", errors="replace").splitlines() if self._file.exists() else []
        if earlier:
            return earlier[0]
        ended_by = _SIGNAL.search(str(error))
        if ended_by is None:
            return in_one_line(error)
        name = signal.Signals(int(ended_by[1])).name
        cause = ", mostly because the machine had no memory left" if name == "SIGKILL" else ""
        return f"a process of it was ended by {name}{cause}"


@contextmanager
def start_errors() -> Iterator[StartErrors]:
    """Make the processes that are started inside the block write their errors to a file."""
    with tempfile.TemporaryDirectory(prefix="sr-real-engine-") as folder:
        file = Path(folder) / "errors.txt"
        os.environ[_VARIABLE] = str(file)
        try:
            yield StartErrors(file)
        finally:
            del os.environ[_VARIABLE]


def record_errors() -> None:
    """In a process of vLLM: write its errors to that file, if there is one."""
    if file := os.environ.get(_VARIABLE):
        logging.getLogger("vllm").addHandler(_Recorder(Path(file)))


class _Recorder(logging.Handler):
    def __init__(self, file: Path) -> None:
        super().__init__(logging.ERROR)
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        # After the start the folder is gone.
        if error is not None and self._file.parent.exists():
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(f"{in_one_line(error)}\n")
