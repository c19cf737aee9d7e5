"""Commands about a run that is there: `status`, `watch`, `scale`, `summary`, `dashboard`, `compare`."""

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
    """Show a run that is under way: its phase, its rollout workers, and who waits for whom.

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

    New workers serve once they hold the current weights; workers that leave finish their requests first.

    Example: sr-real scale run=runs/mine --rollouts 3
    """
    from launch.run.attach import attached
    from launch.show.status import print_workers

    with attached(the_run(run, option)) as coordinator:
        print_workers(coordinator.scale(rollouts), console)


def summary(run: RunName = None, option: RunOption = None) -> None:
    """Show what a run has reached: its state, last step, marks, models and checkpoints. Reads its files only.

    Example: sr-real summary run=runs/mine
    """
    from launch.run.report import print_run

    print_run(the_run(run, option), console)


def dashboard(run: RunName = None, option: RunOption = None) -> None:
    """Open the page of a run: its link while the run is under way, else a page served from here until Ctrl-C.

    A folder copied from another machine works too. Nothing is fetched from outside.

    Example: sr-real dashboard run=runs/mine
    """
    from launch.show.page import place_of

    root = the_run(run, option)
    place = place_of(root)
    if place is None:
        _serve([root])
    else:
        console.print(f"{root} is under way: {place.link}", highlight=False, soft_wrap=True)


def compare(
    runs: RunNames = None,
    options: RunOptions = None,
    page: Annotated[bool, typer.Option(help="Also serve a page with their curves, until Ctrl-C.")] = True,
) -> None:
    """Compare runs: a table of their marks, and a page with their curves over each other.

    Example: sr-real compare run=runs/mine run=runs/other --no-page
    """
    from launch.show.summary import print_marks

    roots = runs_named(runs, options)
    marks: dict[str, dict[str, Any]] = {}
    for root in roots:
        found = _marks_of(root)
        if not found:
            from launch.run.state import state_of

            console.print(f"[yellow]run={root} has no marks yet[/]: {state_of(root).sentence()}", highlight=False)
        marks |= found
    if marks:
        print_marks(marks, console)
    if page:
        _serve(roots)


def _marks_of(root: Path) -> dict[str, dict[str, Any]]:
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
