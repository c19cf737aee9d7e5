"""A run at a glance: what it says is shown as it stands."""

from io import StringIO

from rich.console import Console
from rich.style import Style

from actors.pool.member import MemberStatus, State
from actors.run.status import Progress, RunStatus
from launch.show.status import print_status


def test_brackets_in_warnings_and_reasons_are_text() -> None:
    worker = MemberStatus("rollout-0", "dead", "lost [/tmp/x] [red]", 3.0, 7, 2, 1, False)
    warning = "rollout-0: OSError: [Errno 28] no space in [/data/runs]"
    status = RunStatus(Progress("train", 1, 2), 1, [worker], 0, "none", [], 1, [warning])
    written = StringIO()
    print_status(status, Console(file=written, width=200))
    assert warning in written.getvalue()
    assert "lost [/tmp/x] [red]" in written.getvalue()


def test_every_state_of_a_worker_has_a_colour_that_the_terminal_knows() -> None:
    for state in State:
        worker = MemberStatus("rollout-0", state, "", 3.0, 7, 2, 1, False)
        Style.parse(worker.colour)
        assert worker.label == state
    assert MemberStatus("rollout-0", "dead", "", 3.0, 7, 2, 1, True).label == "quarantined"
