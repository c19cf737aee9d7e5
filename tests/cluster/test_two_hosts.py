"""The learner on one host, rollouts on another, submitted as a job; the link between them is cut and mended."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import ROOT, SMALL, SR_REAL
from tests.cluster.hosts import NO_TOKEN, RAY, Host, ray_node, two_hosts

pytestmark = [
    pytest.mark.stack,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="network namespaces need root and `ip`"),
]
# Shorter than it takes Ray to give a node up.
CUT_S = 8.0


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """A cluster of two nodes, each with what the other has not."""
    with ExitStack() as stack:
        one, two = stack.enter_context(two_hosts())
        head = (
            f"--head --node-ip-address={one.address} --port=6379 --dashboard-host={one.address} --dashboard-port=8265"
        )
        joins = f"--address={one.address}:6379 --node-ip-address={two.address}"
        nodes = ((one, head, {"learner": 1}), (two, joins, {"rollout": 2}))
        for host, arguments, offers in nodes:
            start = [RAY, "start", *arguments.split(), "--num-cpus=2", f"--resources={json.dumps(offers)}", "--block"]
            stack.enter_context(ray_node(*host.command(*start), log=tmp_path / f"{host.name}.log"))
            log = tmp_path / f"{host.name}.log"
            until(lambda log=log: "Ray runtime started" in log.read_text(), f"{log} does not say so: a Ray node", 60)
        yield one, two


def until(condition: Callable[[], bool], what: str, within_s: float = 400.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what}: not within {within_s} s"
        time.sleep(0.5)


def processes(title: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if " ".join(process.info["cmdline"] or []).startswith(title):
            found.append(process)
    return found


def test_the_link_between_learner_and_rollouts_is_cut_for_a_while(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    one, two = hosts
    folder = tmp_path / "run"
    submit = [
        *(SR_REAL, "submit", "--address", f"http://{one.address}:8265", "--python", sys.executable),
        *("--command", "demo", f"run={folder}", *SMALL, "training.num_steps=100000", "cluster.address=auto"),
        *("cluster.learner_resources={learner: 1}", "rollout.resources_per_worker={rollout: 1}"),
    ]
    log = tmp_path / "job.log"
    with log.open("w") as output:
        environment = {**os.environ, **NO_TOKEN}
        job = subprocess.Popen(one.command(*submit), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=environment)

    def steps() -> int:
        metrics = folder / "metrics.jsonl"
        assert job.poll() is None, log.read_text()[-4000:]
        return len(metrics.read_text().splitlines()) if metrics.exists() else 0

    until(lambda: steps() >= 3, "three steps")
    here = [one.holds(process) for process in processes("ray::LearnerRank")]
    there = [two.holds(process) for process in processes("VLLM::Worker")]
    assert (any(here), any(there)) == (True, True)
    assert not any(one.holds(process) for process in processes("VLLM::Worker"))

    two.unplug()
    time.sleep(CUT_S)
    two.plug_in()
    reached = steps()
    until(lambda: steps() >= reached + 5, "five steps after the link was mended")
    status = json.loads(one.run(SR_REAL, "status", "--run", str(folder), "--json"))
    assert [worker["state"] for worker in status["workers"]] == ["serving"]
    assert status["workers"][0]["version"] in (status["version"] - 1, status["version"])
    made = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert made == list(range(1, len(made) + 1))

    (name,) = [word for word in log.read_text().split() if word.startswith("raysubmit_")][:1]
    one.run(RAY, "job", "stop", name, "--address", f"http://{one.address}:8265", "--no-wait")
    assert job.wait(timeout=200) == 130, log.read_text()[-4000:]
    assert sorted((folder / "checkpoints").glob("step-*"))
