"""What becomes of a push in the midst of which an engine dies or hangs: the others get the version all the same."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import LiveRun

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def live(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRun]:
    with LiveRun(tmp_path_factory.mktemp("push") / "run", model, "rollout.num_workers=2") as run:
        yield run


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_a_push_in_which_an_engine_fails_is_made_again_without_it(live: LiveRun, name: str) -> None:
    live.until(lambda: serving(live) == 2, "two engines")
    known = num_repeated(live)
    for _ in range(5):  # a push is short: the signal may come when it has just ended
        live.until(lambda: any(wait.loop == "publish" for wait in live.status.waits), "a push", look_every_s=0.0)
        for process in live.processes("VLLM::Worker")[:1]:
            process.send_signal(getattr(signal, name))
        live.until(lambda: serving(live) < 2 or num_repeated(live) > known, "a word of the fault")
        live.recovers(f"engine failed in mid-push ({name})", lambda: serving(live) == 2)
        if num_repeated(live) > known:
            break
    assert num_repeated(live) > known
    assert len({worker.version for worker in live.status.workers}) == 1


def test_afterwards_every_prompt_was_used_once_and_nobody_is_left(live: LiveRun) -> None:
    assert live.stop() == []
    live.assert_books_agree()


def num_repeated(live: LiveRun) -> int:
    steps = [json.loads(line) for line in (live.folder / "metrics.jsonl").read_text().splitlines()]
    return sum(step["push_attempts"] > 1 for step in steps)


def serving(live: LiveRun) -> int:
    return list(live.states.values()).count("serving")
