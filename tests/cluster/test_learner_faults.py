"""What becomes of a run whose learner dies: a new one goes on from the last checkpoint; engines fall back with it."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import LiveRun

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def live(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRun]:
    # The last checkpoint lies some steps back, but not many.
    with LiveRun(tmp_path_factory.mktemp("learner") / "run", model, "training.checkpoint_every=7") as run:
        yield run


def test_a_learner_that_is_killed_is_replaced_from_the_last_checkpoint(live: LiveRun) -> None:
    live.until(lambda: live.num_steps >= 9, "a step after the first checkpoint")
    (learner,) = live.processes("ray::LearnerRank")
    learner.send_signal(signal.SIGKILL)
    told = "a learner rank died during"
    live.until(lambda: any(told in warning for warning in live.status.warnings), "a word about it")
    reached = live.num_steps
    live.recovers("learner killed (SIGKILL)", lambda: live.num_steps > reached)
    (replaced,) = live.processes("ray::LearnerRank")
    assert replaced.pid != learner.pid


def test_each_step_is_in_the_books_once_and_the_engines_have_its_weights(live: LiveRun) -> None:
    assert live.stop() == []
    steps = [json.loads(line) for line in (live.folder / "metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))
    groups = set()
    for step in steps:
        file = live.folder / "trajectories" / f"step-{step['step']:06d}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        # Nothing that younger weights made, from before the fall-back, is trained on.
        assert all(version < step["step"] for row in rows for version, _ in row["version_spans"])
        of_step = {(row["path"], row["group"]) for row in rows}
        assert not of_step & groups
        groups |= of_step
    assert len(list((live.folder / "trajectories").glob("step-*.jsonl"))) == len(steps)
