"""What becomes of a run that loses a node of its cluster: the rest goes on, and a new node is used."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ray.cluster_utils import Cluster

from tests.cluster.conftest import LiveRun

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two nodes on this machine: the first has room for the learner, the grader and one engine, the second for one."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    yield cluster
    cluster.shutdown()


def test_a_run_outlives_the_loss_of_a_node_and_takes_up_a_new_one(
    cluster: Cluster, model: Path, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1)
    with LiveRun(tmp_path / "run", model, f"cluster.address={cluster.address}", "rollout.num_workers=2") as live:
        live.until(lambda: serving(live) == 2, "an engine on each node")

        # What ran on the machine goes with it.
        family = [child for raylet in raylets(node) for child in raylet.children(recursive=True)]
        cluster.remove_node(node, allow_graceful=False)
        for process in family:
            if process.is_running():
                process.kill()
        live.until(lambda: serving(live) == 1, "a word of the loss")
        live.goes_on()

        cluster.add_node(num_cpus=1)
        live.recovers("node lost, another joined", lambda: serving(live) == 2)
        assert len({worker.version for worker in live.status.workers}) == 1
        assert live.stop() == []
        live.assert_books_agree()


def serving(live: LiveRun) -> int:
    return list(live.states.values()).count("serving")


def raylets(node: object) -> list[psutil.Process]:
    processes = node.all_processes["raylet"]  # type: ignore[attr-defined]
    return [psutil.Process(info.process.pid) for info in processes]
