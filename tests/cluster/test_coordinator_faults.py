"""What becomes of a run whose coordinator is killed: its end is told in words, nobody is left, a resume goes on."""

import signal
import time
from pathlib import Path

import pytest

from tests.cluster.conftest import LiveRun

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_run_whose_coordinator_is_killed_ends_and_a_resume_has_its_workers_and_uses_every_prompt_once(
    model: Path, tmp_path: Path
) -> None:
    arguments = (tmp_path / "run", model, "training.checkpoint_every=4")
    with LiveRun(*arguments) as live:
        live.scale(2)
        scaled_at = live.num_steps
        live.until(lambda: live.num_steps >= scaled_at + 6, "a step after the next checkpoint")
        (coordinator,) = live.processes("ray::Coordinator")
        assert live.ends_with(1, lambda: coordinator.send_signal(signal.SIGKILL)) == []
        assert "the coordinator died" in live.log
        assert "--resume" in live.log
        reached = live.num_steps

    started_s = time.monotonic()
    with LiveRun(*arguments, "--resume") as again:
        again.recovers("coordinator killed (SIGKILL), resumed by hand", lambda: again.num_steps > reached, started_s)
        assert sorted(again.states) == ["rollout-0", "rollout-1"]
        assert again.stop() == []
        again.assert_books_agree()
