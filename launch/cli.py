"""The command line. Heavy modules load inside the commands, so that `--help` and a bad config answer at once."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from launch import run_cli
from launch.config import ConfigError, load_config
from launch.config_cli import show_config
from launch.data_cli import app as data_app
from launch.evaluate_cli import evaluate
from launch.options import AcceptChanges, Config, Overrides, console
from launch.outcomes import RunFailedError, RunLostError, Stopped
from launch.run_config import (
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

app = typer.Typer(
    help="Trains a spatial vision-language model to reason along two paths: words only (LOR), or detecting 3D centres "
    "first (DTR). Start with [bold]sr-real demo[/], or [bold]sr-real doctor[/] if something is amiss.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        from launch.version import describe_version

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
    """What stands before a command."""


@app.command()
def demo(overrides: Overrides = None, config: Config = None) -> None:
    """Scenes, cold start, RL, marks before and after: the whole method on this machine, in a quarter of an hour.

    In a folder that holds a run it begins again, from the config that is named; what was there is set aside.
    """
    from launch.demo import run_demo

    run_demo(load_config(config or "demo", overrides), console)


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """The checkpoint to go on from. A scheduler gives a job the same command each time, so having none is no error."""
    from learner.checkpoint import latest_checkpoint, list_checkpoints

    if not list_checkpoints(checkpoints):
        console.print(f"no checkpoint in {checkpoints} yet: this is the beginning", highlight=False)
        return None
    return latest_checkpoint(checkpoints).resolve()


@app.command("cold-start")
def cold_start(
    overrides: Overrides = None,
    config: Config = None,
    accept: AcceptChanges = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from this cold start's newest checkpoint, or begin. Safe to repeat.")
    ] = False,
) -> None:
    """Supervised fine-tuning on both paths' chains of thought; writes RUN/cold_start_model and its marks.

    Ctrl-C writes a checkpoint, ends every process, and `--resume` goes on from there.
    """
    from launch.centers import draw_centers
    from launch.driver import Driver
    from launch.summary import print_summary

    resume_from = newest_checkpoint(folder_of(config, overrides).cold_start_checkpoints) if resume else None
    rule = COLD_START if resume_from is None else COLD_START_RESUMED
    settings = config_for(rule, config, overrides, console, accept)
    with Driver(settings, console) as run:
        run.cold_start(resume_from)
    print_summary(run.folder, console)
    draw_centers(run.folder)


@app.command()
def base(
    overrides: Overrides = None,
    config: Config = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write the model and its record to.")] = Path(
        "assets/tiny-base"
    ),
) -> None:
    """Pretrain the demo's base on perception alone, hours; goes on by itself where an earlier call was stopped."""
    from launch.base import make_base

    make_base(load_config(config or "base", overrides), config or "base", overrides or [], out, console)
    console.print(f"wrote {out}")


@app.command()
def train(
    overrides: Overrides = None,
    config: Config = None,
    accept: AcceptChanges = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Hugging Face folder to start from. Default: RUN/cold_start_model; with --resume the one that the "
            "training started from.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's newest checkpoint, or begin. Safe to repeat.")
    ] = False,
    resume_from: Annotated[
        Path | None, typer.Option("--resume-from", help="Go on from this training checkpoint: RUN/checkpoints/step-…")
    ] = None,
) -> None:
    """Reinforcement learning along both paths; writes RUN/metrics.jsonl, checkpoints, final_model and its marks.

    Ctrl-C writes a checkpoint, ends every process, and `--resume` goes on from there.
    """
    from launch.centers import draw_centers
    from launch.driver import Driver
    from launch.summary import draw_summary, print_summary
    from learner.checkpoint import verify

    folder = folder_of(config, overrides)
    if resume_from is not None:
        verify(resume_from)
    elif resume:
        resume_from = newest_checkpoint(folder.checkpoints)
    settings = config_for(TRAIN if resume_from is None else TRAIN_RESUMED, config, overrides, console, accept)
    start = start_of_training(folder, checkpoint, resume_from is not None, accept)
    with Driver(settings, console) as run:
        run.train(start, resume_from and resume_from.resolve())
    print_summary(run.folder, console)
    draw_summary(run.folder)
    draw_centers(run.folder)


app.command()(evaluate)


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="Folder to write: config, weights (safetensors), tokenizer.")],
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="A training checkpoint: RUN/checkpoints/step-…")],
    overrides: Overrides = None,
    config: Config = None,
) -> None:
    """Write a training checkpoint as a plain Hugging Face folder, for transformers and vLLM."""
    from launch.driver import Driver
    from learner.checkpoint import verify

    verify(checkpoint)
    settings = config_for(EXPORT, config, with_run_of([checkpoint], config, overrides), console)
    with Driver(settings, console, needs_data=False) as run:
        run.export(checkpoint.resolve(), target.resolve())
    console.print(f"wrote {target}")


@app.command("rollout-only")
def rollout_only(
    checkpoint: Annotated[Path, typer.Option("--from", help="Hugging Face folder that answers.")],
    overrides: Overrides = None,
    config: Config = None,
) -> None:
    """One half of the system: feed, roll out and score with fixed weights; records RUN/trajectories, no learner."""
    from launch.driver import Driver

    with Driver(config_for(USE, config, overrides, console), console) as run:
        run.rollout_only(checkpoint.resolve())
    console.print(f"recorded {run.folder.trajectories}")


@app.command("learner-only")
def learner_only(
    checkpoint: Annotated[Path, typer.Option("--from", help="Hugging Face folder to update.")],
    recorded: Annotated[Path, typer.Option("--trajectories", help="RUN/trajectories of a run or of `rollout-only`.")],
    overrides: Overrides = None,
    config: Config = None,
) -> None:
    """The other half: updates on recorded trajectories, no engines; prints what each update measured."""
    from launch.driver import Driver

    with Driver(config_for(USE, config, overrides, console), console) as run:
        updates = run.learner_only(checkpoint.resolve(), recorded.resolve())
    for number, metrics in enumerate(updates, start=1):
        shown = ("loss", "grad_norm", "kl_reference", "kl_rollout_learner", "clip_fraction", "ess")
        console.print(f"update {number}: " + "  ".join(f"{key} {metrics[key]:.4g}" for key in shown if key in metrics))


run_cli.register(app)
app.command("config")(show_config)


@app.command()
def submit(
    address: Annotated[str, typer.Option("--address", help="The cluster's dashboard, such as http://127.0.0.1:8265")],
    overrides: Overrides = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            help="The name of a preset, or a YAML file within the project. Default: as for the command.",
            show_default=False,
        ),
    ] = None,
    command: Annotated[
        str, typer.Option("--command", help="What to run: train, cold-start, demo, evaluate, …")
    ] = "train",
    resume: Annotated[bool, typer.Option("--resume", help="As for the command. Safe to repeat.")] = False,
    python: Annotated[
        str, typer.Option("--python", help="The interpreter on the cluster's head that has the project's packages.")
    ] = "python",
    follow: Annotated[bool, typer.Option(help="Print the log until the job ends, and end with its status.")] = True,
) -> None:
    """Run a command as a job of a Ray cluster, from any machine that has this project and Ray.

    This project is shipped, without its runs, caches and environment. Ctrl-C leaves the job alone.
    """
    from launch.submit import follow_job, shipped_config, submit_job

    load_config(config or "demo", overrides)  # a fault in it is told here, not there
    named = [] if config is None else ["--config", shipped_config(config)]
    arguments = [command, *named, *(["--resume"] if resume else []), *(overrides or [])]
    try:
        job = submit_job(address, arguments, python, console)
    except ConnectionError as error:
        raise ConfigError(f"no cluster at {address}: {str(error).splitlines()[0]}") from None
    if follow:
        try:
            raise typer.Exit(follow_job(address, job))
        except KeyboardInterrupt:
            raise Stopped(
                f"watching; job {job} goes on. `ray job logs -f {job} --address {address}` looks on"
            ) from None


@app.command()
def doctor(
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="Also what this preset or YAML file needs.")
    ] = None,
    overrides: Overrides = None,
    gpu_gib: Annotated[float | None, typer.Option("--gpu-gib", help="Memory of a learner's GPU, GiB.")] = None,
    rollout_gpu_gib: Annotated[
        float | None, typer.Option("--rollout-gpu-gib", help="Memory of an engine's GPU, if another.")
    ] = None,
) -> None:
    """What of this machine and this install is fit, and what to do about the rest.

    With --config: what the run would need of each GPU (weights, optimiser, activations, keys and values, push buffers)
    and whether its cluster has it. Nothing is started.
    """
    from launch.doctor import print_findings, run_doctor

    findings = run_doctor()
    if config is not None:
        from launch.fit import examine_config, find_nodes

        run = load_config(config, overrides)
        try:
            nodes = find_nodes(run.cluster.address)
        except ConnectionError as error:
            console.print(f"[yellow]no cluster at {run.cluster.address}[/]: {str(error).splitlines()[0]}")
            nodes = []
        try:
            findings += examine_config(run, nodes, gpu_gib, rollout_gpu_gib)
        except OSError as error:
            raise ConfigError(f"model.path={getattr(run.model, 'path', '')}: {error}") from None
    print_findings(findings)
    raise typer.Exit(any(finding.status == "fail" for finding in findings))


def main() -> None:
    """Entry point: faults of the user's making are told in words, all others with their traceback."""
    from spatial.dataset import BadDataError
    from vlm.errors import CheckpointError

    try:
        app()
    except Stopped as stopped:
        console.print(f"[yellow]stopped[/]: {escape(str(stopped))}", highlight=False, soft_wrap=True)
        sys.exit(130)
    except RunFailedError as failed:
        console.print(f"[red]failed[/]: {escape(str(failed))}", highlight=False)
        sys.exit(1)
    except RunLostError as lost:
        console.print(f"[red]lost[/]: {escape(str(lost))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except (ConfigError, BadDataError, CheckpointError) as error:
        console.print(f"[red]{type(error).__name__}[/]: {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
