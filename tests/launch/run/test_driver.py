"""What a job's log is told."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from actors.run.status import Progress
from launch.run.driver import Driver
from launch.settings.config import load_config
from launch.show.progress import PlainLog


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


def test_a_stop_names_a_checkpoint_only_where_there_is_one(tmp_path: Path) -> None:
    driver = Driver(load_config("demo", [f"run={tmp_path}"]), Console(quiet=True))
    for command, checkpoints in (("train", "checkpoints"), ("cold-start", "cold_start_checkpoints")):
        words = f"`sr-real {command} --resume run={tmp_path}`"
        assert driver._resumes(command)() == f"there is no checkpoint yet: {words} begins again"
        (tmp_path / checkpoints / "step-000001").mkdir(parents=True)
        assert driver._resumes(command)() == f"{words} continues from the last checkpoint"
