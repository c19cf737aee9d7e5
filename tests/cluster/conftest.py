"""A training run under way, on real Ray, vLLM and DeepSpeed, to which things are done by command and by signal.

How long each recovery took is told at the end of the session.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from actors.run.status import RunStatus
from launch.run.attach import attached

ROOT = Path(__file__).parents[2]
SR_REAL = str(Path(sys.executable).with_name("sr-real"))
SMALL = [
    "rollout.num_workers=1",
    "data.num_train_scenes=60",
    "data.num_validation_scenes=2",
    "data.num_test_scenes=4",
    "training.groups_per_step={lor: 2, dtr: 2}",
    "training.group_size=3",
    "training.max_staleness=1",
    # An untrained model: every group counts, and the reward is one that it sometimes gets.
    "training.filter={min_mean_reward: -1, max_mean_reward: 2, min_reward_std: null}",
    "rewards.custom=tests.launch.rewards_for_tests:parity",
    "rollout.sampling.max_response_tokens=64",
    "rollout.engine.kv_cache_gib=0.1",
    "rollout.engine.max_num_seqs=16",
    "rollout.engine.transfer_timeout_s=20",
    "rollout.health={probe_every_s: 2, restart_pause_s: 0.5, drain_s: 20}",
    "cluster.deadlines.probe_s=8",
    "evaluation={num_questions: 6, num_samples: 1}",
]
# For an engine to load on a busy machine, and more.
PATIENCE_S = 240.0

_recoveries: list[tuple[str, float]] = []


class LiveRun:
    """`sr-real train` in a process of its own, which goes on until it is stopped, at the latest when the block ends."""

    def __init__(self, folder: Path, model: Path, *overrides: str) -> None:
        self.folder = folder
        self._log = (folder.parent / f"{folder.name}.log").open("w")
        arguments = ["train", "--from", str(model), f"run={folder}", "training.num_steps=100000", *SMALL, *overrides]
        self.process = subprocess.Popen(
            [SR_REAL, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._attached = ExitStack()
        self.until(lambda: self.num_steps >= 1 and (folder / "coordinator.json").exists(), "its first step")
        # One connection for all looks: a command of its own for each would cost more than the run.
        self.coordinator = self._attached.enter_context(attached(folder))

    def __enter__(self) -> "LiveRun":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:  # a test has failed
            self.stop()

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command of the command line about this run."""
        whole = [SR_REAL, *arguments, "--run", str(self.folder)]
        return subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, timeout=120)

    def scale(self, size: int) -> None:
        done = self.command("scale", "--rollouts", str(size))
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def status(self) -> RunStatus:
        return self.coordinator.status()

    @property
    def states(self) -> dict[str, str]:
        return {worker.name: worker.state for worker in self.status.workers}

    @property
    def num_steps(self) -> int:
        file = self.folder / "metrics.jsonl"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def processes(self, name: str) -> list[psutil.Process]:
        """Those of the run whose title begins with `name`, such as "ray::RolloutWorker" or "VLLM::Worker"."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in family if _title(process).startswith(name)]

    def until(
        self, condition: Callable[[], bool], what: str, within_s: float = PATIENCE_S, look_every_s: float = 0.3
    ) -> None:
        """Wait for `condition`."""
        started_s = time.monotonic()
        while not condition():
            assert self.process.poll() is None, f"the run ended: {self.log[-4000:]}"
            assert time.monotonic() - started_s < within_s, f"{what}: not within {within_s} s; {self.log[-4000:]}"
            time.sleep(look_every_s)

    def goes_on(self, steps: int = 3) -> None:
        """Some more steps are made."""
        goal = self.num_steps + steps
        self.until(lambda: self.num_steps >= goal, f"step {goal}")

    def recovers(self, fault: str, condition: Callable[[], bool], since_s: float | None = None) -> None:
        """`condition` comes to hold, and training goes on; how long that took (since now) is told at the end."""
        since_s = time.monotonic() if since_s is None else since_s
        self.until(condition, f"recovery from: {fault}")
        _recoveries.append((fault, time.monotonic() - since_s))
        self.goes_on()

    def assert_books_agree(self) -> None:
        """Every step is there once; every prompt that was issued was used once, and every step had its two a path."""
        steps = [json.loads(line)["step"] for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == list(range(1, len(steps) + 1))
        times: dict[str, Counter[int]] = defaultdict(Counter)
        trained: Counter[str] = Counter()
        for file in sorted((self.folder / "trajectories").glob("step-*.jsonl")):
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            for path, group in {(row["path"], row["group"]) for row in rows}:
                times[path][group] += 1
            # A response that failed was not trained on, though its group was.
            trained.update(path for path, _ in {(row["path"], row["group"]) for row in rows if row["trained"]})
        assert sorted(times) == ["dtr", "lor"]
        for path, groups in times.items():
            assert set(groups.values()) == {1}, path
            # None is left out of those that were issued.
            assert sorted(groups) == list(range(len(groups))), path
            assert trained[path] == 2 * len(steps), path

    @property
    def log(self) -> str:
        return (self.folder.parent / f"{self.folder.name}.log").read_text()

    def stop(self) -> list[psutil.Process]:
        """As a scheduler stops it; returns the processes that outlive it."""
        return self.ends_with(130, self.process.terminate)

    def ends_with(self, status: int, cause: Callable[[], None]) -> list[psutil.Process]:
        """`cause` ends it, with this exit status; returns the processes that outlive it."""
        self._attached.close()
        family = psutil.Process(self.process.pid).children(recursive=True)
        cause()
        assert self.process.wait(timeout=180) == status, self.log[-4000:]
        _, alive = psutil.wait_procs(family, timeout=10)
        return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return ""


@pytest.fixture(scope="session")
def model() -> Path:
    """The demo's base, which has never answered with a thought: a cold start would take a minute and change nothing."""
    return ROOT / "assets" / "tiny-base"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None] | None:
    if _recoveries:
        terminalreporter.section("recoveries, as they go into the README")
        for fault, seconds in sorted(_recoveries, key=lambda recovery: recovery[1]):
            terminalreporter.line(f"| {fault} | {seconds:.0f} s |")
    return None
