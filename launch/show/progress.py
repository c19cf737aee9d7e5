"""How far a run is: a bar for each part of a phase in a terminal, lines in a log; and its warnings."""

from collections.abc import Callable
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

from actors.run.status import Progress as RunProgress
from actors.run.status import RunStatus


def progress_bars(console: Console) -> Progress:
    """Bars with a count, the time, and a `note` for each."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<34}", table_column=Column(no_wrap=True, min_width=34)),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True)),
        console=console,
    )


class StatusDisplay:
    """Shows one status after the other: what is new in it. Use it as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = progress_bars(console)
        self._tasks: dict[str, TaskID] = {}
        self._log = PlainLog(console)
        self._num_warnings = 0

    def __enter__(self) -> Self:
        self._bars.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None:
            self._fill()
        self._bars.__exit__(kind, error, trace)

    def show(self, status: RunStatus) -> None:
        progress = status.progress
        if progress.phase not in self._tasks:
            self._fill()
            self._tasks[progress.phase] = self._bars.add_task(progress.phase, total=None, note="")
        self._bars.update(
            self._tasks[progress.phase],
            completed=progress.done,
            total=progress.total or None,
            note=_note(progress.metrics),
        )
        self._log.show(progress)
        for warning in status.warnings_after(self._num_warnings):
            self._console.print(f"[yellow]{escape(warning)}[/]", highlight=False)
        self._num_warnings = status.num_warnings

    def _fill(self) -> None:
        for task in self._tasks.values():
            row = self._bars.tasks[self._bars.task_ids.index(task)]
            self._bars.update(task, completed=row.total or 1, total=row.total or 1)
            self._bars.stop_task(task)


class PlainLog:
    """A line for each part of a phase and for each tenth of it, where no bar can be drawn (a file, a job's log)."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: tuple[str, int] | None = None

    def show(self, progress: RunProgress) -> None:
        here = (progress.phase, 10 * progress.done // (progress.total or 1))
        if not self._console.is_terminal and here != self._last:
            self._last = here
            count = f"{progress.done}/{progress.total}" if progress.total else ""
            line = " ".join(filter(None, (progress.phase, count, _note(progress.metrics))))
            self._console.print(line, highlight=False)


def _note(metrics: dict[str, Any]) -> str:
    """The few numbers of a step that a person wants to see move."""
    names: dict[str, Callable[[float], str]] = {
        "loss": lambda value: f"loss {value:.3f}",
        "lor/reward_mean": lambda value: f"LOR {value:.2f}",
        "dtr/reward_mean": lambda value: f"DTR {value:.2f}",
        "rollout_tokens_per_s": lambda value: f"{value:,.0f} tokens/s",
        "gpu/tokens_per_s": lambda value: f"{value:,.0f} tokens/s a GPU",
        "gpu/mfu": lambda value: f"MFU {value:.0%}",
    }
    shown = [show(metrics[name]) for name, show in names.items() if metrics.get(name) is not None]
    if metrics.get("num_failures"):
        shown.append(f"{metrics['num_failures']} of {metrics['num_responses']} failed")
    return "  ".join(shown)
