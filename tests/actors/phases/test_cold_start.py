"""The steps of the cold start, with a learner that only counts."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from actors.phases.cold_start import ColdStartSteps
from actors.run.run_folder import RunFolder
from learner.config import SftConfig

pytestmark = pytest.mark.anyio


class CountingLearner:
    def __init__(self, skipped: int = -1) -> None:
        self.made: list[int] = []
        self.saved: dict[int, Mapping[str, object]] = {}
        self._skipped = skipped

    async def cold_start_steps(self, first_step: int, num_steps: int) -> list[dict[str, float]]:
        numbers = range(first_step, first_step + num_steps)
        self.made += numbers
        return [{"num_tokens": 1.0} if number == self._skipped else {"loss": float(number)} for number in numbers]

    async def load_checkpoint(self, folder: Path) -> None: ...

    async def save_checkpoint(self, step: int, loop_state: Mapping[str, object]) -> None:
        self.saved[step] = dict(loop_state)


def make(root: Path, learner: CountingLearner) -> tuple[ColdStartSteps, RunFolder]:
    folder = RunFolder(root)
    folder.create()
    config = SftConfig(steps=25, checkpoint_every=10)
    return ColdStartSteps(config, learner, folder, time.perf_counter()), folder


async def test_every_step_is_made_once_recorded_and_saved_when_due(tmp_path: Path) -> None:
    learner = CountingLearner(skipped=3)
    steps, folder = make(tmp_path, learner)
    seen: list[int] = []
    await steps.restore(None)
    await steps.run(lambda: False, lambda done, metrics: seen.append(done))
    assert steps.is_finished
    assert learner.made == list(range(25))
    assert seen == [10, 20, 25]
    assert sorted(learner.saved) == [10, 20]
    assert steps.losses == [None if number == 3 else float(number) for number in range(25)]
    lines = folder.cold_start_metrics.read_text().splitlines()
    assert len(lines) == 25
    assert lines[0] == '{"step": 1, "loss": 0.0}'


async def test_a_stop_ends_after_the_steps_under_way_with_a_checkpoint(tmp_path: Path) -> None:
    learner = CountingLearner()
    steps, _ = make(tmp_path, learner)
    await steps.restore(None)
    await steps.run(lambda: len(learner.made) >= 20, lambda done, metrics: None)
    assert not steps.is_finished
    assert sorted(learner.saved) == [10, 20]
    assert learner.saved[20]["losses"] == [float(number) for number in range(20)]
