"""Runs jobs one after the other, each in a process of its own, within deadlines."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from benchmarks.gpu.figures import FigureFile
from benchmarks.gpu.machine import ROOT, Bench
from benchmarks.gpu.plan import Job, Stage

_WARM_S = 180.0
"""For a process to import its libraries, counted from its turn."""
_CLOSE_S = 20.0


@dataclass
class Outcome:
    """Which parts have no or not all figures; each with the reason."""

    cut: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {"seconds": round(self.seconds, 1), "cut": self.cut, "failed": self.failed}


class JobProcess:
    """A job's process and all below it."""

    def __init__(self, bench: Bench, job: Job) -> None:
        self.job = job
        self._events, theirs = os.pipe()
        self._buffer = b""
        command = [sys.executable, "-m", "benchmarks.gpu.session", "--session", job.session]
        command += ["--bench", json.dumps(bench.as_dict()), "--events", str(theirs)]
        command += ["--stages", *(stage.method for stage in job.stages)]
        self.log = bench.out / "logs" / f"{job.name}.log"
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(theirs,),
                start_new_session=True,
            )
        os.close(theirs)

    def begin(self) -> None:
        """It is this process's turn."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead, and its events have ended
            self._process.stdin.write(b"begin\n")
            self._process.stdin.flush()

    def event(self, timeout_s: float) -> dict[str, Any] | None:
        """What it reports next; None if nothing comes in time. A process that died reports a failure."""
        ends_s = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([self._events], [], [], max(0.0, ends_s - time.monotonic()))
            if not readable:
                return None
            data = os.read(self._events, 65536)
            if not data:
                return {"event": "failed", "error": f"the process died (exit code {self._process.wait()})"}
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return dict(json.loads(line))

    def close(self, patience_s: float) -> None:
        """Wait for it to end, then kill whatever is left of it."""
        below: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(self._process.pid).children(recursive=True)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in below:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(below, timeout=5)
        os.close(self._events)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()


class Runner:
    """Runs jobs within a total time."""

    def __init__(self, bench: Bench, figures: FigureFile, seconds: float) -> None:
        self._bench = bench
        self._figures = figures
        self._started_s = time.monotonic()
        self._ends_s = self._started_s + seconds
        self._outcome = Outcome()

    def run(self, jobs: Sequence[Job]) -> Outcome:
        waiting = list(jobs)
        process = JobProcess(self._bench, waiting.pop(0)) if waiting else None
        while process is not None:
            if self._left_s() <= 0:
                self._leave_out(process.job.stages)
                process.close(0.0)
                process = None
                break
            # It imports while this one measures.
            following = JobProcess(self._bench, waiting.pop(0)) if waiting else None
            self._run(process)
            process = following
        for job in waiting:
            self._leave_out(job.stages)
        self._outcome.seconds = time.monotonic() - self._started_s
        return self._outcome

    def _left_s(self) -> float:
        return self._ends_s - time.monotonic()

    def _run(self, process: JobProcess) -> None:
        """One job; if a stage fails, the stages after it get another process."""
        left = self._attempt(process)
        while left:
            if self._left_s() <= 0:
                self._leave_out(left)
                return
            left = self._attempt(JobProcess(self._bench, replace(process.job, stages=left)))

    def _attempt(self, process: JobProcess) -> tuple[Stage, ...]:
        """Run a job's stages in one process; returns those that are to be tried in another."""
        process.begin()
        stages = process.job.stages
        limit_s, patience_s = _WARM_S, 0.0
        done = 0
        self._say(f"{process.job.name}: importing")
        while done < len(stages):
            event = process.event(min(limit_s, max(0.0, self._left_s())))
            if event is not None and event["event"] in ("warm", "begins"):
                limit_s = stages[done].seconds
                if event["event"] == "begins":
                    self._say(f"{process.job.name}: {stages[done].method}")
                continue
            if event is not None and event["event"] == "ends":
                done += 1
                patience_s = _CLOSE_S
                continue
            process.close(0.0)
            if event is None and self._left_s() <= 0:
                self._leave_out(stages[done:])
                return ()
            why = f"took more than {limit_s:.0f} s" if event is None else str(event["error"])
            return self._fail(process, stages, done, why)
        process.close(min(patience_s, max(1.0, self._left_s())))
        return ()

    def _fail(self, process: JobProcess, stages: tuple[Stage, ...], failed: int, why: str) -> tuple[Stage, ...]:
        stage = stages[failed]
        if not stage.part:  # what the others need: there is no point in a second try
            for part in dict.fromkeys(later.part for later in stages[failed + 1 :]):
                self._note_failure(process, part, f"{stage.method}: {why}")
            return ()
        self._note_failure(process, stage.part, why)
        before = tuple(earlier for earlier in stages[:failed] if not earlier.part)
        after = stages[failed + 1 :]
        return before + after if after else ()

    def _note_failure(self, process: JobProcess, part: str, why: str) -> None:
        self._outcome.failed.append(f"{part} ({process.job.name}): {why}")
        self._figures.add(part, f"{process.job.name}: failed", None, note=f"{why} (log: {process.log.name})")
        self._say(f"{part} failed: {why}")

    def _leave_out(self, stages: Sequence[Stage]) -> None:
        for stage in stages:
            if stage.part:
                self._outcome.cut.append(f"{stage.part} ({stage.method})")
                self._figures.add(stage.part, f"{stage.method}: left out", None, note="the time was up")

    def _say(self, words: str) -> None:
        print(f"{time.monotonic() - self._started_s:6.1f} s  {words}", flush=True)
