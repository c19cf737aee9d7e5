"""Ray during a run: joined or started, and ended without leaving a process behind."""

import ctypes
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster.joining import join, start_local
from actors.cluster.placement import OWN_RAY
from actors.cluster.process_groups import groups_apart
from actors.config import ClusterConfig
from rollout.processes import has_exited

_log = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36


class Orphans:
    """Processes that this one has adopted from ended workers. They stay as zombies until they are reaped here."""

    def __init__(self) -> None:
        self._born = set(psutil.Process().children())
        """Children that this process itself has started; the code that started them reaps them."""

    def reap(self) -> None:
        for process in psutil.Process().children():
            if process not in self._born and has_exited(process.pid):
                with suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)


@contextmanager
def ray_runtime(config: ClusterConfig, num_cpus: float, resources: Mapping[str, float]) -> Iterator[None]:
    """Ray while the block runs: the cluster at `config.address`, or one on this machine that ends with the block.

    Args:
        num_cpus: CPUs that all actors together ask Ray for. A Ray on this machine offers them even with fewer cores:
            generation, scoring and updates take turns, and a laptop should not refuse a second engine.
        resources: custom resources that they ask for; a Ray on this machine offers these too.

    Raises:
        ClusterError: Ray cannot be joined or started.

    Every process that was started is ended: one that does not end by itself within `deadlines.stop_s` is killed, with a
    warning.
    """
    if not config.starts_ray:
        join(config.address or "auto")
        try:
            yield
        finally:
            ray.shutdown()
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    _adopt_orphans()
    before = set(psutil.Process().children(recursive=True))
    cpus = max(len(os.sched_getaffinity(0)), math.ceil(num_cpus))
    try:
        with groups_apart():
            # Always a new cluster, even if another runs here or left its address behind.
            start_local(
                num_cpus=cpus,
                resources={**resources, OWN_RAY: 1},
                # Otherwise Ray starts a process for each of these CPUs, and most of them are never used.
                _system_config={"prestart_worker_first_driver": False},
            )
        yield
    finally:
        started = [process for process in psutil.Process().children(recursive=True) if process not in before]
        ray.shutdown()
        end_processes(started, config.deadlines.stop_s)


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """For an actor that ends with the driver anyway.

    Ray may place actors that need no CPU on any node. The loss of that node, perhaps to an autoscaler, would then end
    the run too.
    """
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def end_processes(processes: list[psutil.Process], timeout_s: float) -> None:
    """Wait until `processes` have ended; past the deadline kill those that have not, and name them."""
    for process in _outliving(processes, timeout_s):
        _log.warning("process %d did not end within %g s: killed", process.pid, timeout_s)
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _outliving(processes, timeout_s)


def _outliving(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Processes that still run after `timeout_s`. Adopted ones that ended are reaped here; psutil reaps children."""
    deadline_s = time.monotonic() + timeout_s
    alive = processes
    while (alive := [process for process in alive if not _has_ended(process)]) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return alive


def _has_ended(process: psutil.Process) -> bool:
    with suppress(ChildProcessError):  # not, or not yet, a child of ours
        os.waitpid(process.pid, os.WNOHANG)
    return not process.is_running() or has_exited(process.pid)


def _adopt_orphans() -> None:
    """Make this process the parent of each descendant whose own parent has ended, so that `end_processes` finds it."""
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")
