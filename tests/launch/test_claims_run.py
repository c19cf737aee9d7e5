"""The order in which the claims' parts run; a stand-in takes the place of the commands, which take minutes each."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from experiments.claims.plan import Part
from experiments.claims.results import Result
from experiments.claims.run import PartFailedError, PartRunner

COLD = Part("cold-full", 0, "cold_start", "cold start")
OTHER = Part("cold-tenth", 0, "cold_start", "another")
RL = Part("rl-joint", 0, "rl", "RL", start="cold-full")
PARTS = [COLD, RL, OTHER]


class Recorded(PartRunner):
    """Runs nothing; keeps who ran, beside whom and on which cores."""

    def __init__(self, folder: Path, jobs: int, failing: str = "") -> None:
        super().__init__(folder / "runs", folder / "results", [], jobs)
        self.folder, self.failing = folder, failing
        self.ran: list[str] = []
        self.cores: list[set[int]] = []
        self.pair = threading.Barrier(2)

    def _run_here(self, part: Part) -> None:
        self.ran.append(part.name)
        self.cores.append(os.sched_getaffinity(0))
        if part.name == self.failing:
            raise PartFailedError(part.name)
        if part.phase == "cold_start":
            (self.folder / "runs" / part.key / "cold_start_model").mkdir(parents=True)
        Result(part.key, part.settings, "", 1.0, {}, []).write(self.result_file(part))


class Paired(Recorded):
    def _run_here(self, part: Part) -> None:
        if part.phase == "cold_start":
            self.pair.wait(timeout=10)  # both cold starts at once, or an error
        super()._run_here(part)


def run(runner: PartRunner) -> None:
    runner.run(PARTS, Console(quiet=True))


def test_a_part_waits_for_the_cold_start_that_it_needs_and_for_nothing_else(tmp_path: Path) -> None:
    runner = Paired(tmp_path, jobs=2)
    run(runner)
    assert sorted(runner.ran) == ["cold-full", "cold-tenth", "rl-joint"]
    assert runner.ran.index("rl-joint") > runner.ran.index("cold-full")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be dealt out")
def test_parts_at_the_same_time_have_cores_of_their_own(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    runner = Paired(tmp_path, jobs=2)
    run(runner)
    assert runner.cores[0].isdisjoint(runner.cores[1])
    assert os.sched_getaffinity(0) == before


def test_what_has_a_result_is_not_run_again(tmp_path: Path) -> None:
    run(Recorded(tmp_path, jobs=1))
    again = Recorded(tmp_path, jobs=1)
    run(again)
    assert again.ran == []


def test_a_result_of_other_settings_is_run_again(tmp_path: Path) -> None:
    run(Recorded(tmp_path, jobs=1))
    changed = replace(RL, changes=("training.group_size=4",))
    assert Recorded(tmp_path, jobs=1).missing([COLD, changed, OTHER]) == [changed]


def test_a_cold_start_whose_model_is_gone_is_run_again_when_a_part_needs_it(tmp_path: Path) -> None:
    run(Recorded(tmp_path, jobs=1))
    (tmp_path / "runs" / COLD.key / "cold_start_model").rmdir()
    assert Recorded(tmp_path, jobs=1).missing(PARTS) == []
    Recorded(tmp_path, jobs=1).result_file(RL).unlink()
    assert Recorded(tmp_path, jobs=1).missing(PARTS) == [COLD, RL]


def test_the_first_failure_ends_it_and_keeps_what_is_done(tmp_path: Path) -> None:
    runner = Recorded(tmp_path, jobs=1, failing="rl-joint")
    with pytest.raises(PartFailedError, match="rl-joint"):
        run(runner)
    assert runner.ran == ["cold-full", "rl-joint"]
    assert runner.missing(PARTS) == [RL, OTHER]
