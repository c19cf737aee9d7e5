"""Commands about machines: `submit` a job to a cluster, `doctor` checks this machine."""

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
    address: Annotated[
        str, typer.Option("--address", help="URL of the cluster's dashboard, such as http://127.0.0.1:8265")
    ],
    overrides: Overrides = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            help="A preset's name, or a YAML file inside this project. Default: that of the command.",
            show_default=False,
        ),
    ] = None,
    command: Annotated[
        str, typer.Option("--command", help="What to run: train, cold-start, demo, evaluate, …")
    ] = "train",
    start: Annotated[
        str | None, typer.Option("--from", help="The model that train starts from: its path on the cluster.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Passed on to the command. Safe to repeat.")] = False,
    python: Annotated[
        str, typer.Option("--python", help="Python on the cluster's head node that has the project's packages.")
    ] = "python",
    follow: Annotated[bool, typer.Option(help="Print the log until the job ends, and exit with its status.")] = True,
    run: RunOption = None,
) -> None:
    """Run a command as a job on a Ray cluster, from any machine that has this project and Ray.

    Uploads this project without its runs, caches and environment. Ctrl-C leaves the job running.

    Example: sr-real submit --address http://127.0.0.1:8265 --config cluster_8b run=/shared/runs/mine
    """
    from launch.run.submit import follow_job, shipped_config, submit_job

    overrides = with_run(overrides, run)
    if config is not None or not folder_of(None, overrides).config.exists():
        load_config(config or "demo", overrides)  # reports a mistake here rather than on the cluster
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
                f"watching. Job {job} continues; `ray job logs -f {job} --address {address}` shows its log"
            ) from None


def doctor(
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="Also check the needs of this preset or YAML file.")
    ] = None,
    overrides: Overrides = None,
    gpu_gib: Annotated[
        float | None, typer.Option("--gpu-gib", help="Memory of one learner GPU, in GiB.", min=1)
    ] = None,
    rollout_gpu_gib: Annotated[
        float | None, typer.Option("--rollout-gpu-gib", help="Memory of one engine GPU, in GiB, if different.", min=1)
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="Kind of the learner's GPUs, such as H100, if not this machine's.")
    ] = None,
    rollout_gpu: Annotated[
        str | None, typer.Option("--rollout-gpu", help="Kind of the engines' GPUs, if different.")
    ] = None,
    response_tokens: Annotated[
        int | None,
        typer.Option("--response-tokens", help="Mean length of responses. Default: half of the greatest.", min=1),
    ] = None,
    run: RunOption = None,
) -> None:
    """Check this machine and the installation, and say how to fix what fails.

    With --config it also computes the memory that the run needs on each GPU (weights, optimiser, activations, KV cache,
    push buffers), whether its cluster has it, and how long a step takes and what bounds it. Starts nothing. With --gpu
    or --gpu-gib the config is for another machine, and what this one lacks is a warning at most.

    Example: sr-real doctor --config qwen3vl_8gpu --gpu H100
    """
    from launch.machine.doctor import run_doctor
    from launch.machine.findings import exit_status, print_findings
    from launch.machine.told import NOTHING_TOLD, Told

    overrides = with_run(overrides, run)
    if config is None and overrides:
        raise ConfigError(f"{overrides[0]}: settings can only be checked with a config: give one with --config")
    told = Told(gpu_gib, rollout_gpu_gib, gpu, rollout_gpu, response_tokens)
    if config is None:
        if told != NOTHING_TOLD:
            raise ConfigError("GPUs and responses can only be told with a config: give one with --config")
        findings = run_doctor()
    else:
        from launch.machine.fit import findings_for

        settings = load_config(config, overrides)
        told.check(settings)
        with console.status(f"checking the needs of {config}"):
            findings = findings_for(settings, told)
    print_findings(findings, subject="the config" if told.is_elsewhere else "this machine")
    raise typer.Exit(exit_status(findings))
