"""An active run in a terminal, for use over ssh."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from actors.run.run_folder import RunFolder
from actors.run.status import RunStatus
from dashboard.metrics import MetricsTable, Series, thinned
from launch.show.status import status_lines

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60
_EVERY_S = 2.0
_SHOWN = {
    "lor/reward_mean": "LOR reward",
    "dtr/reward_mean": "DTR reward",
    "dtr/center_mean": "centre hits",
    "lor/response_tokens_mean": "LOR tokens",
    "dtr/response_tokens_mean": "DTR tokens",
    "kl_rollout_learner": "divergence",
    "time/step_s": "step, s",
    "gpu/tokens_per_s": "tokens/s a GPU",
    "gpu/mfu": "MFU",
    "gpu/busy_mean": "GPUs at work",
    "gpu/memory/fullest_share": "fullest GPU",
}


def sparkline(values: Sequence[float] | Series, width: int = _WIDTH) -> str:
    """Numbers as a row of bars, the lowest the least; more than `width` are averaged in stretches."""
    if not len(values):
        return ""
    means = [part.mean() for part in np.array_split(np.asarray(values, dtype=float), min(width, len(values)))]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in means)


def curves(metrics: MetricsTable) -> Table:
    """A row for each number that the run has measured: its course, and its latest value."""
    table = Table("", f"over {metrics.num_steps} steps", "now")
    for name, label in _SHOWN.items():
        steps, values = thinned(metrics.column("step"), metrics.column(name), metrics.num_steps)
        if len(steps):
            table.add_row(label, sparkline(values), f"{values[-1]:.4g}")
    return table


def watch(run: Path, status: Callable[[], RunStatus], console: Console) -> None:
    """Show the run until it ends or Ctrl-C; once if the output is not a terminal.

    Raises:
        CoordinatorError: `status` does; the run does not answer any more.
    """
    metrics = MetricsTable(RunFolder(run).metrics)

    def picture() -> Group:
        metrics.refresh()
        shown = [curves(metrics)] if metrics.num_steps else [Text("no steps yet")]
        return Group(*status_lines(status()), *shown)

    if not console.is_terminal:
        console.print(picture())
        return
    with Live(picture(), console=console, screen=True) as live:
        while True:
            time.sleep(_EVERY_S)
            live.update(picture())
