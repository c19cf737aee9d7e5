"""Looks at this machine and this installation without heavy imports; and what a config needs of them."""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from vlm.attention import AttentionName


@dataclass(frozen=True)
class Requirements:
    """What a config requires of this machine and installation; without a config, nothing."""

    num_gpus: int = 0
    """GPUs on this machine; those of a cluster are counted there."""
    learner_on_gpu: bool = False
    engines_on_gpu: bool = False
    nccl: bool = False
    attention: Literal["auto"] | AttentionName = "auto"

    @property
    def on_gpu(self) -> bool:
        return self.learner_on_gpu or self.engines_on_gpu


NO_REQUIREMENTS = Requirements()


def find_version(*names: str) -> str | None:
    """The version of the first of these packages that is installed."""
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def find_package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def torchvision_is_cpu_build() -> bool:
    """From its version file, which states the build in full; a machine's own build has no label and is trusted."""
    folder = find_package_folder("torchvision")
    if folder is None or not (folder / "version.py").exists():
        return False
    return "+cu" not in (folder / "version.py").read_text(encoding="utf-8").splitlines()[0]


def find_gpus() -> list[str]:
    """The names of the NVIDIA GPUs; empty where there is no driver."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        # Where nothing else keeps the driver awake, it takes seconds for each card.
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in result.stdout.splitlines() if line.strip()] if result.returncode == 0 else []


def num_visible_gpus() -> int:
    """The number of GPUs that a Ray started here would offer."""
    # In a container the driver's own command may be missing.
    found = len(find_gpus()) or len(list(Path("/dev").glob("nvidia[0-9]*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else min(found, len([card for card in visible.split(",") if card.strip()]))


def find_taken_ports(ports: Sequence[int]) -> list[int]:
    """The ports of this machine on which something answers."""
    taken = []
    for port in ports:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                taken.append(port)
    return taken


def find_compiler() -> str | None:
    return next((name for name in ("g++", "c++") if shutil.which(name)), None)


def home_fault() -> str | None:
    """Why Ray, vLLM and the caches cannot use this user's home; None: they can.

    Tried rather than asked: who may write is not all that decides it.
    """
    home = Path.home()
    there = next((folder for folder in (home, *home.parents) if folder.exists()), home)
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".sr-real-"):
            return None
    except OSError as error:
        return f"the home folder {home} is not writable ({error.strerror})"


def ray_needs_home() -> bool:
    """Whether Ray would write its token there: it starts no cluster without one."""
    if os.environ.get("RAY_AUTH_MODE") == "disabled" or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return False
    return not (Path.home() / ".ray" / "auth_token").is_file()
