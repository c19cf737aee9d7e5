"""Runs the parts without a result, several at a time, each after the cold start that it needs."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.claims.plan import Part, shown
from experiments.claims.results import Result

# Used until a part has been measured.
_GUESS_S = {"cold_start": 420.0, "rl": 360.0}


class PartFailedError(Exception):
    """A part's command ended with an error; the message holds the end of its log."""


class PartRunner:
    """Runs parts side by side.

    Args:
        root: the runs are in `root/seed-N/part`.
        results: a part's result is `results/seed-N/part.json`; parts with one of their current settings are not run.
        overrides: settings for every part, as for `sr-real`.
        jobs: parts at a time. They share the cores of this process: a model this small gains little from a second
            core.
    """

    def __init__(self, root: Path, results: Path, overrides: Sequence[str], jobs: int) -> None:
        self._root = root
        self._results = results
        self._overrides = list(overrides)
        self._jobs = jobs
        self._cores: SimpleQueue[set[int]] = SimpleQueue()
        cores = sorted(os.sched_getaffinity(0))
        for job in range(jobs):
            self._cores.put(set(cores[job::jobs]) or set(cores))

    def result_file(self, part: Part) -> Path:
        return self._results / f"{part.key}.json"

    def missing(self, parts: Sequence[Part]) -> list[Part]:
        """The parts to run: those without a result, and cold starts that they need and whose model is missing."""
        without = [part for part in parts if Result.find(part, self._results) is None]
        needed = {(part.seed, part.start) for part in without if part.start}
        return [
            part
            for part in parts
            if part in without or ((part.seed, part.name) in needed and not self._model(part).exists())
        ]

    def run(self, parts: Sequence[Part], console: Console) -> None:
        """Run the missing parts.

        Raises:
            PartFailedError: a part failed; raised after the parts that were running beside it have ended.
        """
        waiting = self.missing(parts)
        running: dict[Future[None], Part] = {}
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=console) as bar, ThreadPoolExecutor(self._jobs) as pool:
            task = bar.add_task("", total=len(parts), completed=len(parts) - len(waiting))
            while waiting or running:
                for part in self._ready(waiting, running.values())[: self._jobs - len(running)]:
                    waiting.remove(part)
                    running[pool.submit(self._run, part)] = part
                left_s = self._left_s([*waiting, *running.values()])
                names = ", ".join(part.key for part in running.values())
                bar.update(task, description=f"{names} (about {left_s / 3600:.1f} h left)")
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    del running[future]
                    if future.exception() is not None:
                        waiting.clear()  # running parts may end, and their results are kept
                        wait(running)
                    future.result()
                    bar.advance(task)

    @staticmethod
    def _ready(waiting: Sequence[Part], running: Iterable[Part]) -> list[Part]:
        """The waiting parts whose cold start is done."""
        to_come = {(part.seed, part.name) for part in (*waiting, *running)}
        return [part for part in waiting if (part.seed, part.start) not in to_come]

    def _model(self, part: Part) -> Path:
        return self._root / part.key / "cold_start_model"

    def _run(self, part: Part) -> None:
        cores = self._cores.get()
        try:
            # Applies to this thread and to what it starts.
            os.sched_setaffinity(0, cores)
            self._run_here(part)
        finally:
            self._cores.put(cores)

    def _run_here(self, part: Part) -> None:
        folder = self._root / part.key
        folder.mkdir(parents=True, exist_ok=True)
        program = [sys.executable, "-m", "launch.commands.cli"]
        command = [*part.command(self._root), *self._overrides]
        started_s = time.perf_counter()
        with (folder / "log.txt").open("w") as log:
            status = subprocess.run([*program, *command], stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        if status != 0:
            end = "\n".join((folder / "log.txt").read_text().splitlines()[-15:])
            raise PartFailedError(
                f"{part.key} failed ({status}); finished parts are kept; repeat the command to continue.\n{end}"
            )
        written = " ".join([shown(part, self._root), *self._overrides])
        Result.of_run(part, written, folder, time.perf_counter() - started_s).write(self.result_file(part))

    def _left_s(self, parts: Sequence[Part]) -> float:
        """How long these parts will take, from the median of the parts with a result."""
        measured = [Result.read(file) for file in self._results.glob("*/*.json")]
        typical = {
            phase: median([r.seconds for r in measured if bool(r.curve) == (phase == "rl")] or [guess])
            for phase, guess in _GUESS_S.items()
        }
        return sum(typical[part.phase] for part in parts) / self._jobs
