"""Writes the two lock files; run it after a change of a direct dependency in pyproject.toml.

    .venv/bin/python requirements/write_lock.py cpu     what this environment has, once its tests pass
    .venv/bin/python requirements/write_lock.py gpu     what pip's resolver answers, without installing or testing it

The CPU lock is taken from the environment that runs the tests, not from a resolver, so that it holds what was tried.
The GPU lock cannot be tried on a machine without a GPU; its direct dependencies are held at the CPU lock's versions.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).resolve().parent

# vLLM asks for both, nothing here uses sound or video, and transformers breaks on a torchaudio that does not load.
LEFT_OUT = frozenset({"torchaudio", "torchcodec"})
# xgrammar asks for it: 1 GB of compiler for GPUs, which vLLM's CPU build finds unfit for CPUs and switches off.
LEFT_OUT_ON_CPU = LEFT_OUT | {"triton"}
# Installed for their scoring rules alone, which tests compare with ours: what they need besides (over 60 packages,
# another wandb among them) is for the harness around the rules, which is never imported. num2words is what the rules
# themselves import; it wants docopt for a command line.
WITHOUT_DEPENDENCIES = frozenset({"lmms-eval", "ms-vlmeval", "num2words"})

CPU_HEADER = """\
# Every package of the CPU install, with the tools of development, as tried (Python 3.11, x86-64).
# Complete: installed with --no-deps.  Written by requirements/write_lock.py; not by hand.
# Left out on purpose: torchaudio and torchcodec (their CUDA builds break transformers beside a CPU torch), triton.
"""
GPU_HEADER = """\
# Every package of the GPU install, as pip resolves it (Python 3.11, x86-64).  Not tried: it was made without a GPU.
# Complete: installed with --no-deps.  Written by requirements/write_lock.py; not by hand.
# Direct dependencies stand at the versions of cpu.lock, which are tried.  Left out on purpose: torchaudio, torchcodec,
# and flash-attn 2, which is built for the machine (the extra `flash` in pyproject.toml).
"""


def read_requirements(extras: Iterable[str]) -> list[Requirement]:
    """The project's direct dependencies with those of some extras."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def collect_installed(requirements: Iterable[Requirement]) -> dict[str, str]:
    """Name → version of the requirements and of all that they need, from this environment."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    pending = [(requirement, "") for requirement in requirements]
    while pending:
        requirement, parent_extra = pending.pop()
        name = canonicalize_name(requirement.name)
        if name in LEFT_OUT_ON_CPU:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": parent_extra}):
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen and name not in WITHOUT_DEPENDENCIES:
                seen.add((name, extra))
                pending += [(Requirement(line), extra) for line in metadata.requires(name) or ()]
        # Without "+cpu": which build of a version is installed depends on what the machine can reach.
        versions[name] = metadata.version(name).split("+")[0]
    return versions


def resolve_with_pip(requirements: Iterable[Requirement], held: dict[str, str]) -> dict[str, str]:
    """Name → version from pip's resolver on an empty environment, with some names held at a version."""
    # deepspeed's metadata can only be built where torch is installed; what it needs is asked for by name instead.
    by_hand = {"deepspeed"} | WITHOUT_DEPENDENCIES
    lines = [str(requirement) for requirement in requirements if requirement.name not in by_hand]
    lines += [str(r) for r in map(Requirement, metadata.requires("deepspeed") or ()) if r.marker is None]
    with tempfile.TemporaryDirectory() as folder:
        # "===" compares as text: "2.13.0" and not "2.13.0+cpu".
        constraints = Path(folder) / "held.txt"
        constraints.write_text("".join(f"{name}==={version}\n" for name, version in held.items()), encoding="utf-8")
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed"]
        subprocess.run([*command, "--report", str(report), "-c", str(constraints), *lines], check=True)
        installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    versions = {canonicalize_name(item["metadata"]["name"]): item["metadata"]["version"] for item in installed}
    versions |= {name: metadata.version(name) for name in by_hand}
    return {name: version for name, version in versions.items() if name not in LEFT_OUT}


def read_lock(path: Path) -> dict[str, str]:
    """Name → version of a lock file."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE))


def write_lock(path: Path, header: str, versions: dict[str, str]) -> None:
    """Writes a lock file, in the order of the names."""
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    path.write_text(header + "".join(lines), encoding="utf-8")
    print(f"{path.name}: {len(lines)} packages")


def main(kind: str) -> None:
    """Writes the lock file of one kind of machine."""
    if kind == "cpu":
        write_lock(FOLDER / "cpu.lock", CPU_HEADER, collect_installed(read_requirements(["cpu", "dev"])))
        return
    requirements = read_requirements(["gpu", "dev"])
    tried = read_lock(FOLDER / "cpu.lock")
    direct = {canonicalize_name(requirement.name) for requirement in requirements}
    held = {name: version for name, version in tried.items() if name in direct}
    write_lock(FOLDER / "gpu.lock", GPU_HEADER, resolve_with_pip(requirements, held))


if __name__ == "__main__":
    if sys.argv[1:] not in (["cpu"], ["gpu"]):
        sys.exit("usage: write_lock.py cpu|gpu")
    main(sys.argv[1])
