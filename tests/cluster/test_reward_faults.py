"""What becomes of a run whose reward worker is killed or stopped: the next one scores what it had; nothing is lost."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import LiveRun

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def live(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRun]:
    with LiveRun(tmp_path_factory.mktemp("reward") / "run", model) as run:
        yield run


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_a_reward_worker_that_fails_is_replaced_and_its_responses_are_scored(live: LiveRun, name: str) -> None:
    (worker,) = live.processes("ray::RewardWorker")
    steps = live.num_steps
    worker.send_signal(getattr(signal, name))

    def is_replaced() -> bool:
        now = live.processes("ray::RewardWorker")
        return len(now) == 1 and now[0].pid != worker.pid and live.num_steps > steps + 1

    live.recovers(f"reward worker failed ({name})", is_replaced)
    assert not worker.is_running()


def test_afterwards_every_prompt_was_used_once_no_response_failed_and_nobody_is_left(live: LiveRun) -> None:
    assert live.stop() == []
    live.assert_books_agree()
    steps = [json.loads(line) for line in (live.folder / "metrics.jsonl").read_text().splitlines()]
    assert [step["num_failures"] for step in steps] == [0] * len(steps)
