"""What a job's log is told."""

from io import StringIO

from rich.console import Console

from actors.status import Progress
from launch.driver import PlainLog


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
