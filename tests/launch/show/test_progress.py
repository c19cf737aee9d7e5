"""How far a run is, in a terminal and in a job's log."""

from contextlib import suppress
from io import StringIO

from rich.console import Console

from actors.run.status import Progress, RunStatus
from launch.show.progress import PlainLog, StatusDisplay


def make_status(phase: str, done: int = 0, warnings: list[str] | None = None) -> RunStatus:
    warnings = warnings or []
    return RunStatus(
        progress=Progress(phase, done, 4),
        version=None,
        workers=[],
        num_responses_reissued=0,
        correction="",
        waits=[],
        num_warnings=len(warnings),
        warnings=warnings,
    )


def test_a_log_gets_a_line_a_phase_and_one_each_tenth_of_it() -> None:
    written = StringIO()
    log = PlainLog(Console(file=written))
    log.show(Progress("starting"))
    log.show(Progress("starting"))
    for done in range(41):
        log.show(Progress("train", done, 40, {"loss": 0.25} if done else {}))
    lines = written.getvalue().splitlines()
    assert lines[:3] == ["starting", "train 0/40", "train 4/40 loss 0.250"]
    assert lines[-1] == "train 40/40 loss 0.250"
    assert len(lines) == 12


def test_failures_stand_beside_the_rewards_of_a_step() -> None:
    written = StringIO()
    log = PlainLog(Console(file=written))
    log.show(Progress("RL", 1, 20, {"lor/reward_mean": 0.2, "num_failures": 20, "num_responses": 36}))
    log.show(Progress("RL", 2, 20, {"lor/reward_mean": 0.2, "num_failures": 0, "num_responses": 36}))
    assert written.getvalue().splitlines() == ["RL 1/20 LOR 0.20  20 of 36 failed", "RL 2/20 LOR 0.20"]


def test_a_warning_is_shown_once_and_a_part_that_has_ended_is_shown_full() -> None:
    written = StringIO()
    with StatusDisplay(Console(file=written, width=120)) as display:
        display.show(make_status("loading", 1, ["rollout-0 died"]))
        display.show(make_status("RL", 2, ["rollout-0 died", "rollout-1 [sic] died"]))
    text = written.getvalue()
    assert text.count("rollout-0 died") == 1
    assert text.count("rollout-1 [sic] died") == 1
    assert text.count("4/4") == 2


def test_a_part_that_was_stopped_is_shown_as_far_as_it_came() -> None:
    written = StringIO()
    with suppress(RuntimeError), StatusDisplay(Console(file=written, width=120)) as display:
        display.show(make_status("RL", 2))
        raise RuntimeError("stopped")
    assert "2/4" in written.getvalue()
    assert "4/4" not in written.getvalue()


def test_a_step_on_gpus_tells_its_speed_and_its_mfu() -> None:
    written = StringIO()
    metrics = {"lor/reward_mean": 0.2, "gpu/tokens_per_s": 7612.3, "gpu/mfu": 0.334}
    PlainLog(Console(file=written)).show(Progress("RL", 1, 20, metrics))
    assert written.getvalue().splitlines() == ["RL 1/20 LOR 0.20  7,612 tokens/s a GPU  MFU 33%"]
