"""`sr-real summary`: how far a run got, from its files."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from actors.run.run_folder import RunFolder
from dashboard.metrics import MetricsTable
from launch.run.state import state_of
from launch.show.summary import print_summary
from launch.show.watch import curves


def print_run(root: Path, console: Console) -> None:
    """State, curves, figures, models and checkpoints."""
    folder = RunFolder(root)
    state = state_of(root)
    console.print(f"[bold]{escape(str(root))}[/]: {state.sentence()}", highlight=False, soft_wrap=True)
    if state.end == "killed":
        console.print("its last checkpoint is whole: `--resume` continues from it", highlight=False)
    metrics = MetricsTable(folder.metrics)
    metrics.refresh()
    if metrics.num_steps:
        console.print(curves(metrics))
    if folder.summary.is_file():
        print_summary(folder, console)
    else:
        console.print("no figures yet: they are written at the end of the cold start and of training", highlight=False)
    for title, paths in (
        ("models", [folder.cold_start_model, folder.final_model]),
        (
            "checkpoints",
            sorted(folder.cold_start_checkpoints.glob("step-*")) + sorted(folder.checkpoints.glob("step-*")),
        ),
        ("evaluations", sorted(file.parent for file in folder.evaluations.glob("*/results.json"))),
    ):
        if found := [path for path in paths if path.exists()]:
            console.print(f"{title}: {', '.join(escape(str(path)) for path in found)}", highlight=False, soft_wrap=True)
