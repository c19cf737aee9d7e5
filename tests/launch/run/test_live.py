"""How a phase is followed to its end, with a coordinator that plays its part; no Ray."""

import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from actors.errors import CoordinatorGoneError, CoordinatorUnreachableError, NoAnswerError
from actors.phases.client import PhaseFailedError
from actors.run.run_folder import RunFolder
from actors.run.status import Progress, RunStatus
from launch.run.live import LiveRun
from launch.run.outcomes import RunFailedError, RunLostError, Stopped
from launch.settings.config import load_config
from spatial.dataset import BadDataError

STATUS = RunStatus(Progress("RL", 1, 4), 1, [], 0, "", [], 0, [])


class RemoteError(Exception):
    """As Ray wraps an error of an actor."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"remote traceback of {cause!r}")
        self.cause = cause


class PlayedCoordinator:
    """Answers each call for its status by the next of `answers`; then the phase ends."""

    def __init__(self, answers: list[Exception | type[BaseException] | RunStatus], result: object) -> None:
        self.answers = answers
        self._result = result
        self.num_stops = 0

    def begin(self, phase: object) -> "PlayedCoordinator":
        return self

    def has_ended(self, within_s: float) -> bool:
        return not self.answers

    def result(self) -> Any:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    def status(self) -> RunStatus:
        answer = self.answers.pop(0)
        if isinstance(answer, RunStatus):
            return answer
        raise answer

    def stop(self) -> None:
        self.num_stops += 1


class NoOrphans:
    def reap(self) -> None: ...


class PlayedRun(LiveRun):
    def __init__(self, root: Path, coordinator: PlayedCoordinator, finish_s: float = 60) -> None:
        config = load_config("demo", [f"run={root}", f"cluster.deadlines.finish_s={finish_s}"])
        self.written = StringIO()
        super().__init__(config, RunFolder(root), Console(file=self.written, width=200))
        self._coordinator = coordinator  # type: ignore[assignment]
        self._orphans = NoOrphans()  # type: ignore[assignment]

    def follow(self) -> object:
        return self.run(object(), lambda: "resume it")  # type: ignore[arg-type]


def played(root: Path, *answers: Any, result: object = "done", finish_s: float = 60) -> PlayedRun:
    return PlayedRun(root, PlayedCoordinator(list(answers), result), finish_s)


def test_a_phase_is_followed_to_its_result_though_the_coordinator_is_out_of_reach_for_a_while(tmp_path: Path) -> None:
    run = played(tmp_path, STATUS, CoordinatorUnreachableError("for now"), STATUS)
    assert run.follow() == "done"
    assert "RL 1/4" in run.written.getvalue()


def test_a_stop_waits_for_the_phase_and_says_how_to_resume(tmp_path: Path) -> None:
    run = played(tmp_path, STATUS, KeyboardInterrupt, NoAnswerError("busy"), STATUS, result=None)
    with pytest.raises(Stopped, match=r"^resume it$"):
        run.follow()
    assert run._coordinator.num_stops == 1  # type: ignore[attr-defined]


def test_a_second_interrupt_ends_the_wait_at_once(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        played(tmp_path, KeyboardInterrupt, KeyboardInterrupt, STATUS).follow()


def test_a_checkpoint_that_takes_too_long_is_not_waited_for(tmp_path: Path) -> None:
    started_s = time.monotonic()
    endless: list[RunStatus] = [STATUS] * 10**6
    with pytest.raises(Stopped, match=r"no checkpoint was written within 0.2 s .*finish_s\); resume it"):
        played(tmp_path, KeyboardInterrupt, *endless, finish_s=0.2).follow()
    assert time.monotonic() - started_s < 10


@pytest.mark.parametrize(
    ("answer", "result", "words"),
    [
        (NoAnswerError("late"), None, "the coordinator has not answered for 60 s; resume it"),
        (CoordinatorGoneError("gone"), CoordinatorGoneError("killed"), r"the coordinator died \(killed\); resume it"),
    ],
)
def test_a_run_without_its_coordinator_is_lost(
    tmp_path: Path, answer: Exception, result: Exception | None, words: str
) -> None:
    with pytest.raises(RunLostError, match=words):
        played(tmp_path, answer, result=result).follow()


def test_an_error_of_a_part_is_told_in_a_line_with_its_traceback_in_a_file(tmp_path: Path) -> None:
    failed: Callable[[Exception], PhaseFailedError] = lambda cause: PhaseFailedError(RemoteError(cause))  # noqa: E731
    with pytest.raises(RunFailedError, match=r"^ValueError: no room \(the whole traceback: .*error.txt\)$"):
        played(tmp_path, result=failed(ValueError("no room"))).follow()
    assert (tmp_path / "error.txt").read_text() == "remote traceback of ValueError('no room')\n"
    with pytest.raises(RunFailedError, match="its traceback could not be written: "):
        played(tmp_path / "none", result=failed(ValueError("no room"))).follow()
    with pytest.raises(BadDataError, match="two bad rows"):
        played(tmp_path, result=failed(BadDataError("two bad rows"))).follow()
