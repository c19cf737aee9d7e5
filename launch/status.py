"""A run at a glance, in the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from actors.member import MemberStatus
from actors.status import RunStatus

_COLOURS = {"serving": "green", "stale": "yellow", "starting": "cyan", "suspect": "yellow", "dead": "red"}


def print_status(status: RunStatus, console: Console) -> None:
    progress = status.progress
    version = "" if status.version is None else f", weights version {status.version}"
    console.print(f"[bold]{progress.phase}[/] {progress.done}/{progress.total}{version}", highlight=False)
    print_workers(status.workers, console)
    if status.num_reissued:
        console.print(f"{status.num_reissued} responses were asked for again: their worker had left", highlight=False)
    console.print(f"off-policy correction: {status.correction}", highlight=False)
    for wait in status.waits:
        console.print(f"  {wait}", highlight=False)
    for warning in status.warnings[-3:]:
        console.print(f"[yellow]{warning}[/]", highlight=False)


def print_workers(workers: Sequence[MemberStatus], console: Console) -> None:
    table = Table("worker", "state", "for", "weights", "responses under way", "restarts", "why")
    for worker in workers:
        state = "quarantined" if worker.is_quarantined else worker.state
        colour = _COLOURS.get(worker.state, "magenta")
        version = "?" if worker.version is None else str(worker.version)
        table.add_row(
            worker.name,
            f"[{colour}]{state}[/]",
            f"{worker.for_s:.0f} s",
            version,
            str(worker.load),
            str(worker.incarnation),
            worker.reason,
        )
    console.print(table if workers else "no rollout workers")
