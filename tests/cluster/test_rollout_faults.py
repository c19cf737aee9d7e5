"""What becomes of a run whose rollout workers are killed, stopped, and scaled: it goes on, and its books agree.

The tests share one run, and follow each other as they stand. `make chaos` runs all; `make test` leaves out three, and
kills the only engine then.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import LiveRun

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def live(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRun]:
    with LiveRun(tmp_path_factory.mktemp("chaos") / "run", model) as run:
        yield run


@pytest.mark.slow
def test_the_pool_grows_to_two_and_both_serve_the_same_weights(live: LiveRun) -> None:
    live.scale(2)
    live.recovers("scaled from 1 to 2", lambda: list(live.states.values()) == ["serving", "serving"])
    assert len({worker.version for worker in live.status.workers}) == 1


def test_an_engine_that_is_killed_while_it_generates_is_replaced(live: LiveRun) -> None:
    size = serving(live)
    engine = live.processes("VLLM::Worker")[0]
    engine.send_signal(signal.SIGKILL)
    live.recovers("engine killed (SIGKILL)", lambda: restarts(live) == 1 and serving(live) == size)
    assert not engine.is_running()


@pytest.mark.slow
def test_a_worker_that_is_stopped_is_replaced_and_leaves_no_process_behind(live: LiveRun) -> None:
    worker = live.processes("ray::RolloutWorker")[0]
    family = [worker, *worker.children(recursive=True)]
    assert len(family) >= 3
    for process in family:
        process.send_signal(signal.SIGSTOP)
    live.recovers("worker with its engine stopped (SIGSTOP)", lambda: restarts(live) == 2 and serving(live) == 2)
    live.until(lambda: not any(process.is_running() for process in family), "an end of all of its processes", 10.0)


@pytest.mark.slow
def test_the_pool_shrinks_to_nothing_waits_and_comes_back(live: LiveRun) -> None:
    live.scale(0)
    live.until(lambda: live.states == {}, "an empty pool")
    live.until(lambda: any(wait.whom == "a worker that serves" for wait in live.status.waits), "a wait")
    steps = live.num_steps
    live.scale(1)
    live.recovers("scaled from 0 to 1", lambda: live.states == {"rollout-0": "serving"})
    assert live.num_steps > steps


def test_more_workers_than_allowed_are_refused_in_words(live: LiveRun) -> None:
    refused = live.command("scale", "--rollouts", "9")
    assert refused.returncode == 2
    assert "max_workers=8" in refused.stdout


def test_afterwards_every_prompt_was_used_once_and_nobody_is_left(live: LiveRun) -> None:
    assert live.stop() == []
    live.assert_books_agree()


def restarts(live: LiveRun) -> int:
    return sum(worker.incarnation for worker in live.status.workers)


def serving(live: LiveRun) -> int:
    return list(live.states.values()).count("serving")
