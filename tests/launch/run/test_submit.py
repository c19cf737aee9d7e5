"""A run as a job of a Ray cluster that is there already: shipped, watched, stopped."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient
from rich.console import Console

from launch.run.submit import PROJECT, follow_job, shipped_config, submit_job
from launch.settings.config import ConfigError
from tests.cluster.conftest import SMALL
from tests.cluster.hosts import RAY, ray_node

ROOT = Path(__file__).parents[3]
SR_REAL = str(Path(sys.executable).with_name("sr-real"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of one node with room for the small run."""
    dashboard = free_port()
    folder = tmp_path_factory.mktemp("ray")
    start = (
        f"start --head --port={free_port()} --dashboard-port={dashboard} --num-cpus=8 --include-dashboard=true --block"
    )
    with ray_node(RAY, *start.split(), f"--temp-dir={folder}", log=folder / "ray.log"):
        deadline_s = time.monotonic() + 60
        while "Ray runtime started" not in (folder / "ray.log").read_text():
            assert time.monotonic() < deadline_s
            time.sleep(0.5)
        yield f"http://127.0.0.1:{dashboard}"


def test_a_config_outside_of_what_is_shipped_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 1\n")
    assert shipped_config("demo") == "launch/presets/demo.yaml"
    assert shipped_config(str(PROJECT / "launch/presets/base.yaml")) == "launch/presets/base.yaml"
    with pytest.raises(ConfigError, match="copy it there"):
        shipped_config(str(tmp_path / "mine.yaml"))


def test_nobody_at_the_address_is_said_in_words() -> None:
    done = subprocess.run(
        [SR_REAL, "submit", "--address", f"http://127.0.0.1:{free_port()}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no Ray dashboard answers there" in done.stdout


@pytest.mark.stack
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_jobs_status_is_the_runs_and_its_log_is_shown(address: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [SR_REAL, "submit", "--address", address, "--python", sys.executable, "--command", "cold-start"]
    done = subprocess.run(
        [*command, f"run={folder}", *SMALL], cwd=tmp_path, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "format kept" in done.stdout
    assert "packaging.py" not in done.stderr
    assert (folder / "cold_start_model" / "config.json").is_file()
    failed = subprocess.run(
        [*command[:-1], "train", f"run={tmp_path / 'none'}", *SMALL], capture_output=True, text=True, timeout=200
    )
    assert failed.returncode == 2
    assert "is not a model folder" in failed.stdout.replace("\n", " ")


@pytest.mark.stack
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_is_stopped_writes_a_checkpoint_first(address: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ["cold-start", "--config", "demo", "--resume", f"run={folder}", *SMALL, "learner.sft.steps=100000"]
    job = submit_job(address, arguments, sys.executable, console=Console(quiet=True))
    metrics = folder / "cold_start_metrics.jsonl"
    deadline_s = time.monotonic() + 300
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 20:
        assert time.monotonic() < deadline_s
        time.sleep(0.5)
    client = JobSubmissionClient(address)
    client.stop_job(job)
    assert follow_job(address, job) == 130
    assert client.get_job_status(job) == JobStatus.STOPPED
    (checkpoint,) = (folder / "cold_start_checkpoints").glob("step-*")
    steps = len(metrics.read_text().splitlines())
    assert checkpoint.name == f"step-{steps:06d}"
    assert json.loads((checkpoint / "manifest.json").read_text())
