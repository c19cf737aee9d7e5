"""Commands about machines: `submit` a job to a cluster, let the `doctor` check this machine."""

from typing import Annotated

import typer

from launch.commands.options import Overrides, console
from launch.commands.run_naming import RunOption, with_run
from launch.run.outcomes import Stopped
from launch.run.run_config import folder_of
from launch.settings.config import ConfigError, load_config


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command()(submit)
    app.command()(doctor)


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
    start: Annotated[
        str | None, typer.Option("--from", help="As for train: the model to start from, as the cluster names it.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="As for the command. Safe to repeat.")] = False,
    python: Annotated[
        str, typer.Option("--python", help="The interpreter on the cluster's head that has the project's packages.")
    ] = "python",
    follow: Annotated[bool, typer.Option(help="Print the log until the job ends, and exit with its status.")] = True,
    run: RunOption = None,
) -> None:
    """Run a command as a job on a Ray cluster, from any machine that has this project and Ray.

    This project is sent along, without its runs, caches and environment. Ctrl-C leaves the job running.

    Example: sr-real submit --address http://127.0.0.1:8265 --config cluster_8b run=/shared/runs/mine
    """
    from launch.run.submit import follow_job, shipped_config, submit_job

    overrides = with_run(overrides, run)
    if config is not None or not folder_of(None, overrides).config.exists():
        load_config(config or "demo", overrides)  # a mistake in it is reported here, not on the cluster
    named = [] if config is None else ["--config", shipped_config(config)]
    from_model = [] if start is None else ["--from", start]
    arguments = [command, *named, *from_model, *(["--resume"] if resume else []), *overrides]
    try:
        job = submit_job(address, arguments, python, console)
    except ConnectionError as error:
        raise ConfigError(f"--address {address}: {error}") from None
    if follow:
        try:
            raise typer.Exit(follow_job(address, job))
        except KeyboardInterrupt:
            raise Stopped(
                f"watching; job {job} continues. `ray job logs -f {job} --address {address}` shows its log"
            ) from None


def doctor(
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="Also what this preset or YAML file needs.")
    ] = None,
    overrides: Overrides = None,
    gpu_gib: Annotated[float | None, typer.Option("--gpu-gib", help="Memory of a learner's GPU, GiB.")] = None,
    rollout_gpu_gib: Annotated[
        float | None, typer.Option("--rollout-gpu-gib", help="Memory of an engine's GPU, if another.")
    ] = None,
    run: RunOption = None,
) -> None:
    """Check this machine and the installation, and say how to fix what fails.

    With --config: also what the run would need of each GPU (weights, optimiser, activations, keys and values, push
    buffers), and whether its cluster has that. Nothing is started.

    Example: sr-real doctor --config qwen3vl_8gpu --gpu-gib 80
    """
    from launch.machine.doctor import exit_status, print_findings, run_doctor

    overrides = with_run(overrides, run)
    if config is None and overrides:
        raise ConfigError(f"{overrides[0]}: settings are checked together with a config: give one with --config")
    if config is None:
        findings = run_doctor()
    else:
        from launch.machine.fit import findings_for

        settings = load_config(config, overrides)
        with console.status(f"what {config} needs"):
            findings = findings_for(settings, gpu_gib, rollout_gpu_gib)
    print_findings(findings)
    raise typer.Exit(exit_status(findings))
