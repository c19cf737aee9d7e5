"""Whom a signal to a whole process group reaches."""

import os
import signal
import subprocess
import sys

import pytest

from actors.cluster.process_groups import groups_apart

SLEEPER = [sys.executable, "-c", "import os, time; print(os.getpgid(0), flush=True); time.sleep(60)"]


def start() -> tuple["subprocess.Popen[str]", int]:
    """As Ray starts its processes: with a function that is called in the child."""
    process = subprocess.Popen(SLEEPER, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: None)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_what_is_started_apart_is_in_a_group_of_its_own() -> None:
    with groups_apart():
        process, group = start()
    other, its_group = start()
    assert (group, its_group) == (process.pid, os.getpgid(0))
    for ended in (process, other):
        ended.kill()
        ended.wait()


DRIVER = """
import os, signal, time
import ray
from actors.config import ClusterConfig
from actors.cluster.runtime import ray_runtime

with ray_runtime(ClusterConfig(), num_cpus=1, resources={}):
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    put = ray.put(7)
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        @ray.remote
        def save():
            return "saved"
        print(ray.get(save.remote(), timeout=60), ray.get(put), flush=True)
"""


@pytest.mark.stack
def test_a_signal_to_the_whole_group_leaves_ray_for_the_checkpoint() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGTERM)
    rest, _ = process.communicate(timeout=120)
    assert (rest.split(), process.returncode) == (["saved", "7"], 0)
