"""What several commands share."""

from typing import Annotated

import typer
from rich.console import Console

console = Console()

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        help="A YAML file, or the name of a preset in launch/presets. Default: the run's own; for a new run, demo.",
        show_default=False,
    ),
]
AcceptChanges = Annotated[
    bool,
    typer.Option(
        "--accept-changes",
        help="Continue although data, model, seed, order or prompts differ from those the run was trained with so far.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings, such as [bold]learner.optimizer.learning_rate=1e-5 run=runs/mine[/]",
        show_default=False,
    ),
]
