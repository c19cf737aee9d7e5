"""A run as a job on a Ray cluster: uploads this project, prints the log, and exits with the run's status."""

import asyncio
import logging
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient
from rich.console import Console

from actors.cluster.joining import TOKEN_ADVICE
from actors.errors import ClusterError
from launch.run.resume import SUBMITTED
from launch.settings.config import ConfigError, find_config

PROJECT = Path(__file__).parents[2]
# Besides what .gitignore names, which Ray leaves out by itself.
_LEFT_OUT = [".git", ".venv", "runs", "data", "wandb", "docs", "**/__pycache__"]
# Ray's own 3 seconds are too few for a checkpoint.
_STOP_WAIT_S = 120
_POLL_S = 1.0
# The log may end a little before the job does; a job that is being stopped writes a checkpoint first.
_END_WAIT_S = _STOP_WAIT_S + 60


def shipped_config(config: str) -> str:
    """A config's path within the project, as the job sees it; for a preset's name or a file.

    Raises:
        ConfigError: there is no such config, or it lies outside the project, which is all that is shipped.
    """
    file = find_config(config).resolve()
    if not file.is_relative_to(PROJECT):
        raise ConfigError(f"config {file} is not in {PROJECT}, the folder that is uploaded: copy it there")
    return str(file.relative_to(PROJECT))


def submit_job(address: str, arguments: Sequence[str], python: str, console: Console) -> str:
    """Start `sr-real ARGUMENTS` on the cluster; returns the job's id.

    Args:
        address: of the cluster's dashboard, such as http://127.0.0.1:8265.
        python: an interpreter on the cluster's head that has what the project needs.

    Raises:
        ConnectionError: nobody answers at the address, or the cluster requires a token.
    """
    # Otherwise Ray logs every file that it leaves out.
    logging.getLogger("ray").setLevel(logging.ERROR)
    client = _client(address)
    job = client.submit_job(
        entrypoint=shlex.join([python, "-m", "launch.commands.cli", *arguments]),
        runtime_env={
            "working_dir": str(PROJECT),
            "excludes": _LEFT_OUT,
            "env_vars": {
                "RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_WAIT_S),
                "PYTHONUNBUFFERED": "1",
                SUBMITTED: shlex.join(["sr-real", "submit", "--address", address, "--python", python]),
            },
        },
        metadata={"name": "sr-real"},
    )
    console.print(
        f"job [bold]{job}[/] at {address}; `ray job stop {job} --address {address}` ends it with a checkpoint"
    )
    return job


def _client(address: str) -> JobSubmissionClient:
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise ClusterError(f"the cluster requires a token ({str(error).splitlines()[0]}). {TOKEN_ADVICE}") from None
    except ConnectionError as error:
        raise ClusterError(
            f"no Ray dashboard answers there ({str(error).splitlines()[0]}); its port is 8265 unless the cluster was "
            "started with a different one"
        ) from None


def follow_job(address: str, job: str) -> int:
    """Print the job's log until it ends; its exit status: the run's own, 130 for a job that was stopped."""
    return asyncio.run(_follow(_client(address), job))


async def _follow(client: JobSubmissionClient, job: str) -> int:
    async for lines in client.tail_job_logs(job):
        sys.stdout.write(lines)
        sys.stdout.flush()
    deadline_s = time.monotonic() + _END_WAIT_S
    while not (info := client.get_job_info(job)).status.is_terminal():
        if time.monotonic() > deadline_s:
            raise ConnectionError(f"job {job} is still {info.status} {_END_WAIT_S} s after its log ended")
        await asyncio.sleep(_POLL_S)
    if info.status == JobStatus.STOPPED:
        return 130
    if info.status == JobStatus.FAILED and not info.driver_exit_code:
        sys.stderr.write(f"job {job} failed: {info.message}\n")
        return 1
    return info.driver_exit_code or 0
