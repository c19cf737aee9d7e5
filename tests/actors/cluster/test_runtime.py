"""Whose Ray a run uses."""

import os
import subprocess
import sys

import pytest
import ray
from ray.cluster_utils import Cluster

from actors.cluster.runtime import on_this_node

SCRIPT = """
import ray
from actors.config import ClusterConfig
from actors.cluster.runtime import ray_runtime

with ray_runtime(ClusterConfig(), num_cpus=7, resources={"mine": 2}):
    print(ray.cluster_resources()["CPU"], ray.cluster_resources()["mine"])
"""


@pytest.mark.stack
def test_a_run_without_an_address_starts_its_own_ray_whatever_the_environment_says() -> None:
    # Nothing listens there: a run that believed it would wait for a cluster and fail.
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:9"}
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120)
    assert run.stdout.split() == ["7.0", "2.0"], run.stderr[-2000:]


@ray.remote(num_cpus=0)
class _Elsewhere:
    def node(self) -> str:
        return ray.get_runtime_context().get_node_id()


@pytest.mark.stack
def test_what_ends_with_the_driver_is_on_its_node() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        ray.init(cluster.address, log_to_driver=False)
        here = ray.get_runtime_context().get_node_id()
        actors = [_Elsewhere.options(scheduling_strategy=on_this_node()).remote() for _ in range(6)]
        assert ray.get([actor.node.remote() for actor in actors], timeout=60) == [here] * 6
    finally:
        ray.shutdown()
        cluster.shutdown()
