"""The command line. Heavy modules load inside the commands, so that `--help` and a bad config answer at once."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from launch.commands import machine_cli, run_cli
from launch.commands.ask_cli import ask
from launch.commands.config_cli import show_config
from launch.commands.data_cli import app as data_app
from launch.commands.evaluate_cli import evaluate
from launch.commands.options import AcceptChanges, Config, Overrides, console
from launch.commands.run_naming import RunOption, with_run
from launch.run.outcomes import RunFailedError, RunLostError, Stopped
from launch.run.record import check_data
from launch.run.resume import check_resumable
from launch.run.run_config import (
    COLD_START,
    COLD_START_RESUMED,
    EXPORT,
    TRAIN,
    TRAIN_RESUMED,
    USE,
    config_for,
    folder_of,
    start_of_training,
    with_run_of,
)
from launch.settings.config import ConfigError, load_config
from launch.settings.model_paths import model_folder, training_checkpoint, trajectories_folder

app = typer.Typer(
    help="Train a spatial vision-language model to reason along two paths: in words only (LOR), or by detecting 3D "
    "centres first (DTR). Start with [bold]sr-real demo[/]; [bold]sr-real doctor[/] checks the machine. In every "
    "command [bold]run=RUN[/] names the run, and [bold]--help[/] shows an example.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        from launch.machine.version import describe_version

        print(describe_version())
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show versions and the git commit, and exit."
        ),
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command()
def demo(overrides: Overrides = None, config: Config = None, run: RunOption = None) -> None:
    """Run the whole method on this machine in a quarter of an hour: scenes, cold start, RL, figures before and after.

    If the folder already holds a run, that run is moved to RUN/earlier/ first.

    Example: sr-real demo run=runs/first
    """
    from launch.run.demo import run_demo

    run_demo(load_config(config or "demo", with_run(overrides, run)), console)


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """The checkpoint to continue from. A scheduler repeats a job's command, so having none yet is no error."""
    from learner.checkpoint_store import newest_whole

    found, faults = newest_whole(checkpoints)
    if found is None:
        console.print(f"no checkpoint in {escape(str(checkpoints))} yet: starting from the beginning", highlight=False)
        return None
    for fault in faults:
        console.print(f"[yellow]skipped[/]: {escape(fault)}", highlight=False, soft_wrap=True)
    console.print(f"continuing from {escape(str(found))}", highlight=False, soft_wrap=True)
    return found.resolve()


@app.command("cold-start")
def cold_start(
    overrides: Overrides = None,
    config: Config = None,
    accept: AcceptChanges = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue from the newest checkpoint, or begin if there is none. Safe to repeat."
        ),
    ] = False,
    run: RunOption = None,
) -> None:
    """Fine-tune the base model on both paths' chains of thought; writes RUN/cold_start_model and its figures.

    Ctrl-C writes a checkpoint and ends every process; --resume continues from there.

    Example: sr-real cold-start --config demo run=runs/mine learner.sft.steps=2000
    """
    from launch.run.driver import Driver
    from launch.run.ready import Needs
    from launch.show.centers import draw_centers
    from launch.show.summary import print_summary

    overrides = with_run(overrides, run)
    resume_from = newest_checkpoint(folder_of(config, overrides).cold_start_checkpoints) if resume else None
    rule = COLD_START if resume_from is None else COLD_START_RESUMED
    settings = config_for(rule, config, overrides, console, accept)
    if resume_from is not None:
        check_resumable(resume_from, "cold-start", settings)
        check_data(folder_of(config, overrides), accept)
    with Driver(settings, console, Needs(phases=["cold_start"])) as driver:
        driver.cold_start(resume_from)
    print_summary(driver.folder, console)
    draw_centers(driver.folder)


@app.command()
def base(
    overrides: Overrides = None,
    config: Config = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write the model and its record to.")] = Path(
        "assets/tiny-base"
    ),
    run: RunOption = None,
) -> None:
    """Pretrain the demo's base model on perception. Takes hours; repeat the command to continue after a stop.

    Example: sr-real base --out runs/my-base
    """
    from launch.run.base import make_base

    overrides = with_run(overrides, run)
    make_base(load_config(config or "base", overrides), config or "base", overrides, out, console)
    console.print(f"wrote {escape(str(out))}", highlight=False)


@app.command()
def train(
    overrides: Overrides = None,
    config: Config = None,
    accept: AcceptChanges = False,
    model: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Model (a Hugging Face folder) to start from. Default: RUN/cold_start_model; with --resume, the model "
            "from which this run's training started.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue from the newest checkpoint, or begin if there is none. Safe to repeat."
        ),
    ] = False,
    resume_from: Annotated[
        Path | None, typer.Option("--resume-from", help="Continue from this checkpoint: RUN/checkpoints/step-…")
    ] = None,
    run: RunOption = None,
) -> None:
    """Train by reinforcement learning on both paths; writes RUN/metrics.jsonl, checkpoints, RUN/final_model.

    Ctrl-C writes a checkpoint and ends every process; --resume continues from there.

    Examples: sr-real train --config demo run=runs/mine training.num_steps=100 · sr-real train run=runs/mine --resume ·
    sr-real train --from runs/mine/final_model run=runs/new data.type=files data.folder=data/new
    """
    from launch.run.driver import Driver
    from launch.run.ready import Needs
    from launch.show.centers import draw_centers
    from launch.show.summary import draw_summary, print_summary

    overrides = with_run(overrides, run)
    folder = folder_of(config, overrides)
    if resume_from is not None:
        resume_from = training_checkpoint(resume_from, "--resume-from")
    elif resume:
        resume_from = newest_checkpoint(folder.checkpoints)
    settings = config_for(TRAIN if resume_from is None else TRAIN_RESUMED, config, overrides, console, accept)
    if resume_from is not None:
        check_resumable(resume_from, "train", settings)
        check_data(folder, accept)
    start = start_of_training(folder, model, resume_from is not None, accept)
    with Driver(settings, console, Needs(phases=["train"])) as driver:
        driver.train(start, resume_from)
    print_summary(driver.folder, console)
    draw_summary(driver.folder)
    draw_centers(driver.folder)


app.command()(evaluate)
app.command()(ask)


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="Folder to write: config, weights (safetensors), tokenizer.")],
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="A training checkpoint: RUN/checkpoints/step-…")],
    adapter: Annotated[
        bool,
        typer.Option("--adapter", help="Of a run with learner.lora: the adapters alone, in peft's format, not merged."),
    ] = False,
    overrides: Overrides = None,
    config: Config = None,
    run: RunOption = None,
) -> None:
    """Write a training checkpoint as a plain Hugging Face folder, for transformers and vLLM.

    Examples: sr-real export out/ --checkpoint runs/mine/checkpoints/step-000050 ·
    sr-real export out/ --adapter --checkpoint runs/mine/checkpoints/step-000050
    """
    from launch.run.driver import Driver
    from launch.run.ready import Needs
    from launch.settings.targets import export_target

    checkpoint = training_checkpoint(checkpoint, "--checkpoint")
    folder = export_target(target, checkpoint)
    settings = config_for(EXPORT, config, with_run_of([checkpoint], config, with_run(overrides, run)), console)
    if adapter and settings.learner.lora is None:
        raise ConfigError("--adapter: learner.lora is null, so the run has no adapters; leave --adapter out")
    with Driver(settings, console, Needs(data=False)) as driver:
        driver.export(checkpoint, folder, only_adapters=adapter)
    console.print(f"wrote {escape(str(target))}", highlight=False)


@app.command("rollout-only")
def rollout_only(
    model: Annotated[Path, typer.Option("--from", help="Model (a Hugging Face folder) that responds.")],
    overrides: Overrides = None,
    config: Config = None,
    run: RunOption = None,
) -> None:
    """Run only the rollout half (questions, responses, scores; no learner). Records RUN/trajectories.

    Example: sr-real rollout-only run=runs/half --from runs/demo/cold_start_model training.num_steps=3
    """
    from launch.run.driver import Driver
    from launch.run.ready import Needs

    model = model_folder(model, "--from")
    with Driver(config_for(USE, config, with_run(overrides, run), console), console, Needs(phases=["train"])) as driver:
        driver.rollout_only(model)
    console.print(f"recorded {driver.folder.trajectories}")


@app.command("learner-only")
def learner_only(
    model: Annotated[Path, typer.Option("--from", help="Model (a Hugging Face folder) to update.")],
    recorded: Annotated[Path, typer.Option("--trajectories", help="RUN/trajectories of a run, or of rollout-only.")],
    overrides: Overrides = None,
    config: Config = None,
    run: RunOption = None,
) -> None:
    """Run only the learner half (no engines): one update per recorded step. Prints the metrics of each.

    Example: sr-real learner-only run=runs/half --from runs/demo/cold_start_model --trajectories runs/half/trajectories
    """
    from launch.run.driver import Driver

    model, recorded = model_folder(model, "--from"), trajectories_folder(recorded, "--trajectories")
    with Driver(config_for(USE, config, with_run(overrides, run), console), console) as driver:
        updates = driver.learner_only(model, recorded)
    for number, metrics in enumerate(updates, start=1):
        shown = ("loss", "grad_norm", "kl_reference", "kl_rollout_learner", "clip_fraction", "ess")
        console.print(f"update {number}: " + "  ".join(f"{key} {metrics[key]:.4g}" for key in shown if key in metrics))


run_cli.register(app)
app.command("config")(show_config)


machine_cli.register(app)


def main() -> None:
    """Entry point: a user's mistake is printed as a sentence, any other error with its traceback."""
    from actors.errors import ClusterError
    from spatial.dataset import BadDataError
    from vlm.errors import CheckpointError

    try:
        app()
    except Stopped as stopped:
        console.print(f"[yellow]stopped[/]: {escape(str(stopped))}", highlight=False, soft_wrap=True)
        sys.exit(130)
    except RunFailedError as failed:
        console.print(f"[red]failed[/]: {escape(str(failed))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except RunLostError as lost:
        console.print(f"[red]lost[/]: {escape(str(lost))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except (ConfigError, ClusterError, BadDataError, CheckpointError) as error:
        console.print(f"[red]{type(error).__name__}[/]: {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
