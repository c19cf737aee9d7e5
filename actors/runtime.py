"""Ray for the time of a run: joined or started, and ended without leaving a process behind."""

import ctypes
import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import ray

from actors.config import ClusterConfig

_log = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36


@contextmanager
def ray_runtime(config: ClusterConfig, num_cpus: float) -> Iterator[None]:
    """Ray while the block runs: the cluster at `config.address`, or one on this machine that ends with the block.

    Args:
        num_cpus: what all actors together ask Ray for. On this machine they get it, also with fewer cores: generation,
            scoring and updates take turns, and a laptop should not refuse a second engine.

    Every process that was started is ended: what does not go by itself within `deadlines.stop_s` is killed, and said.
    """
    if config.address is not None or "RAY_JOB_ID" in os.environ:
        # Within `ray job submit` the cluster is there already.
        ray.init(address=config.address or "auto", log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield
        finally:
            ray.shutdown()
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    _adopt_orphans()
    before = set(psutil.Process().children(recursive=True))
    cpus = max(len(os.sched_getaffinity(0)), math.ceil(num_cpus))
    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        started = [process for process in psutil.Process().children(recursive=True) if process not in before]
        ray.shutdown()
        end_processes(started, config.deadlines.stop_s)


def end_processes(processes: list[psutil.Process], timeout_s: float) -> None:
    """Wait until `processes` have ended; past the deadline kill those that have not, and name them."""
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    for process in alive:
        _log.warning("process %d (%s) did not end within %g s: killed", process.pid, process.name(), timeout_s)
        process.kill()
    psutil.wait_procs(alive, timeout=timeout_s)


def _adopt_orphans() -> None:
    """Have a descendant whose parent has ended become a child of this process, where `end_processes` finds it."""
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")
