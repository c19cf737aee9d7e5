"""A run at a glance, in the terminal."""

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from actors.pool.member import MemberStatus
from actors.run.status import RunStatus


def print_status(status: RunStatus, console: Console) -> None:
    for line in status_lines(status):
        console.print(line, highlight=False)


def print_workers(workers: Sequence[MemberStatus], console: Console) -> None:
    console.print(workers_table(workers))


def status_lines(status: RunStatus) -> list[RenderableType]:
    """Phase, workers, who waits for whom, and the last warnings."""
    progress = status.progress
    version = "" if status.version is None else f", weights version {status.version}"
    left = f"{status.num_responses_reissued} responses were requested again because their worker had left"
    return [
        f"[bold]{progress.phase}[/] {progress.done}/{progress.total}{version}",
        workers_table(status.workers),
        *([left] if status.num_responses_reissued else []),
        f"off-policy correction: {status.correction}",
        *([f"learner's attention: {escape(status.attention)}"] if status.attention else []),
        *(f"  {escape(str(wait))}" for wait in status.waits),
        *(f"[yellow]{escape(warning)}[/]" for warning in status.warnings[-3:]),
    ]


def workers_table(workers: Sequence[MemberStatus]) -> RenderableType:
    """One row per worker."""
    table = Table("worker", "state", "for", "weights", "responses under way", "tokens/s", "restarts", "why")
    for worker in workers:
        table.add_row(
            worker.name,
            f"[{worker.colour}]{worker.label}[/]",
            f"{worker.for_s:.0f} s",
            "?" if worker.version is None else str(worker.version),
            str(worker.load),
            "–" if worker.tokens_per_s is None else f"{worker.tokens_per_s:,.0f}",
            str(worker.incarnation),
            escape(worker.reason),
        )
    return table if workers else "no rollout workers"
