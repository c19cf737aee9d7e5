"""Sessions for tests of the runner: they measure nothing, and go wrong in their own ways."""

import subprocess
import sys
import time

from benchmarks.gpu.figures import FigureFile
from benchmarks.gpu.machine import Bench


class Mixed:
    """One stage for each way to end."""

    def __init__(self, bench: Bench, figures: FigureFile) -> None:
        self._bench = bench
        self._figures = figures

    def warm(self) -> None: ...

    def close(self) -> None: ...

    def load(self) -> None:
        self._figures.add("a", "loads", 1)

    def works(self) -> None:
        self._figures.add("a", "works", 2.0, "s", reference=4.0)

    def raises(self) -> None:
        raise RuntimeError("no such card")

    def hangs(self) -> None:
        """With a child that would outlive it."""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        self._figures.add("b", "child", child.pid)
        time.sleep(60)


class Unimportable(Mixed):
    def warm(self) -> None:
        raise ImportError("no such library")
