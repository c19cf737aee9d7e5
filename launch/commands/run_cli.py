"""Commands about an existing run: `status`, `watch`, `scale`, `summary`, `dashboard`, `compare`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from launch.commands.options import console
from launch.commands.run_naming import RunName, RunNames, RunOption, RunOptions, runs_named, the_run


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    for command in (status, watch, scale, summary, dashboard, compare):
        app.command()(command)


def status(
    run: RunName = None,
    option: RunOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON, for programs.")] = False,
) -> None:
    """Show an active run: its phase, its rollout workers, and who waits for whom.

    Example: sr-real status run=runs/mine
    """
    from dataclasses import asdict

    from launch.run.attach import attached
    from launch.show.status import print_status

    with attached(the_run(run, option)) as coordinator:
        found = coordinator.status()
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        print_status(found, console)


def watch(run: RunName = None, option: RunOption = None) -> None:
    """Show the status and the curves of a run in this terminal, updated until Ctrl-C.

    Example: sr-real watch run=runs/mine
    """
    from launch.run.attach import attached
    from launch.show.watch import watch as watch_run

    root = the_run(run, option)
    with attached(root) as coordinator:
        try:
            watch_run(root, coordinator.status, console)
        except KeyboardInterrupt:
            return


def scale(
    rollouts: Annotated[int, typer.Option("--rollouts", min=0, help="Target number of rollout workers.")],
    run: RunName = None,
    option: RunOption = None,
) -> None:
    """Change the number of rollout workers of a run while it trains.

    New workers serve once they hold the current weights. Workers that leave finish their requests first.

    Example: sr-real scale run=runs/mine --rollouts 3
    """
    from launch.run.attach import attached
    from launch.show.status import print_workers

    with attached(the_run(run, option)) as coordinator:
        print_workers(coordinator.scale(rollouts), console)


def summary(run: RunName = None, option: RunOption = None) -> None:
    """Show how far a run got: its state, last step, figures, models and checkpoints. Reads only its files.

    Example: sr-real summary run=runs/mine
    """
    from launch.run.report import print_run

    print_run(the_run(run, option), console)


def dashboard(run: RunName = None, option: RunOption = None) -> None:
    """Open a run's page: prints its link while the run is active; otherwise serves the page until Ctrl-C.

    Works on a folder copied from another machine too, and without access to the internet.

    Example: sr-real dashboard run=runs/mine
    """
    from launch.show.page import place_of

    root = the_run(run, option)
    place = place_of(root)
    if place is None:
        _serve([root])
    else:
        console.print(f"{root} is active: {place.link}", highlight=False, soft_wrap=True)


def compare(
    runs: RunNames = None,
    options: RunOptions = None,
    page: Annotated[bool, typer.Option(help="Also serve a page with their curves until Ctrl-C.")] = True,
) -> None:
    """Compare runs: a table of their figures, and a page with their curves in the same plots.

    Example: sr-real compare run=runs/mine run=runs/other --no-page
    """
    from launch.show.summary import print_phases

    roots = runs_named(runs, options)
    figures: dict[str, dict[str, Any]] = {}
    for root in roots:
        found = _figures_of(root)
        if not found:
            from launch.run.state import state_of

            console.print(f"[yellow]run={root} has no figures yet[/]: {state_of(root).sentence()}", highlight=False)
        figures |= found
    if figures:
        print_phases(figures, console)
    if page:
        _serve(roots)


def _figures_of(root: Path) -> dict[str, dict[str, Any]]:
    from actors.run.run_folder import RunFolder

    found = RunFolder(root).read_summary()
    return {f"{root.name} {name}": found[name] for name in ("cold_start", "rl") if name in found}


def _serve(runs: Sequence[Path]) -> None:
    from launch.show.page import serve_runs

    server = serve_runs(runs)
    console.print(f"{', '.join(map(str, runs))}: {server.place.url} (Ctrl-C ends it)", highlight=False)
    try:
        server.run()
    except KeyboardInterrupt:
        server.close()
