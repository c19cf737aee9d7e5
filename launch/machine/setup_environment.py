"""Makes `.venv` from a lock file with plain pip; `make setup` runs it, and `make demo` and `make test` if need be.

    python3.11 launch/machine/setup_environment.py [--lock cpu|gpu]

Only Python's own library is used, since nothing is installed yet.  A stamp in `.venv` holds a hash of all that the
environment was made from: if it still fits, nothing happens.  Packages come from whatever index pip is configured with;
the CPU builds of torch and torchvision come from PyTorch's own CPU index where that answers.
"""

import sys

# Before the other imports: an older Python lacks one of them, and must get as far as this line.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("sr-real needs Python 3.11 or newer, and this is older: install it, then `make setup PYTHON=python3.11`")

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PYTORCH_CPU_INDEX_TIMEOUT_S = 4.0
SHOWN_ERROR_LINES = 15

# Installed by steps of their own: torch first, because deepspeed's metadata can only be built beside it.
BEFORE_THE_OTHERS = ("setuptools", "torch")
AFTER_THE_OTHERS = ("deepspeed",)

# What the environment is for; run once at the end, so that a stamp means that it works.
IMPORT_CHECK = "import torchvision, ray, deepspeed, vllm; from transformers import Qwen3VLForConditionalGeneration"


class SetupError(Exception):
    """A step failed; the message is the one line that a person needs."""


@dataclass(frozen=True)
class Environment:
    """What is to be made, and from what."""

    root: Path  # the checkout
    lock_name: str  # "cpu" or "gpu"

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def stamp(self) -> Path:
        return self.venv / "sr-real-setup.json"

    @property
    def unfinished_step(self) -> Path:
        """Exists while a step runs: found at the start, it says that the last set-up was killed in the middle."""
        return self.venv / "sr-real-step-unfinished"

    @property
    def lock(self) -> Path:
        return self.root / "requirements" / f"{self.lock_name}.lock"


def read_lock(text: str) -> dict[str, str]:
    """Name → version; raises on a line that is neither a pin nor a comment.

    >>> read_lock("# tried\\ntorch==2.13.0\\n")
    {'torch': '2.13.0'}
    """
    pins: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([a-z0-9-]+)==(\S+)", line)
        if match is None:
            raise SetupError(f"the lock file has a line that is not name==version: {line!r}")
        pins[match[1]] = match[2]
    return pins


def compute_digest(environment: Environment) -> str:
    """A hash of all that the environment is made from; the checkout's place is part, since scripts in it name it."""
    pyproject = tomllib.loads((environment.root / "pyproject.toml").read_text(encoding="utf-8"))
    parts = {
        "lock_name": environment.lock_name,
        "lock": environment.lock.read_text(encoding="utf-8"),
        "project": pyproject["project"],
        "packages": pyproject.get("tool", {}).get("setuptools", {}),
        "hook": (environment.root / "launch" / "machine" / "torchvision_hook.py").read_text(encoding="utf-8"),
        "root": str(environment.root),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_stamp(venv: Path) -> dict[str, str]:
    """The stamp of a finished set-up; empty if there is none that can be read."""
    try:
        return dict(json.loads((venv / "sr-real-setup.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def is_up_to_date(environment: Environment) -> bool:
    """Whether a finished set-up fits the files as they are now."""
    return read_stamp(environment.venv).get("digest") == compute_digest(environment) and environment.python.exists()


def run(environment: Environment, arguments: list[str], advice: str) -> str:
    """Runs a command quietly; if it fails, shows the end of its output and raises with the advice."""
    result = subprocess.run(
        arguments, cwd=environment.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode != 0:
        # pip warns once a package about a place that lacks it; that would bury the reason.
        lines = [line for line in result.stdout.splitlines() if not line.startswith("WARNING: Location")]
        print("", *lines[-SHOWN_ERROR_LINES:], sep="\n    ", file=sys.stderr)
        raise SetupError(advice)
    return result.stdout


def pip_install(environment: Environment, arguments: list[str], advice: str) -> None:
    """Installs with the environment's own pip."""
    command = [str(environment.python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]
    run(environment, command, advice)


def make_venv(environment: Environment) -> None:
    """Makes the virtual environment; keeps one that a failed step left, and clears a broken, moved or torn one."""
    config = environment.venv / "pyvenv.cfg"
    is_usable = (
        config.exists()
        and str(environment.venv) in config.read_text(encoding="utf-8")
        and not environment.unfinished_step.exists()
        and subprocess.run([environment.python, "-m", "pip", "--version"], capture_output=True).returncode == 0
    )
    if not is_usable:
        advice = "install Python's venv module (on Debian and Ubuntu: the package python3-venv of this Python)"
        run(environment, [sys.executable, "-m", "venv", "--clear", str(environment.venv)], advice)


def pytorch_cpu_index_answers() -> bool:
    """Whether PyTorch's own index of CPU builds can be reached within a few seconds."""
    try:
        with urllib.request.urlopen(f"{PYTORCH_CPU_INDEX}/torch/", timeout=PYTORCH_CPU_INDEX_TIMEOUT_S) as response:
            return bool(response.status == 200)
    except (OSError, ValueError):
        return False


def install_torch(environment: Environment) -> None:
    """torch and what builds packages; real CPU builds of torch and torchvision where they can be had."""
    pins = read_lock(environment.lock.read_text(encoding="utf-8"))
    first = [f"{name}=={pins[name]}" for name in BEFORE_THE_OTHERS]
    advice = "pip could not install torch: see its last lines above, and check the network and pip's configuration"
    if environment.lock_name == "cpu" and pytorch_cpu_index_answers():
        builds = [f"{name}=={pins[name]}" for name in ("torch", "torchvision")]
        # It may answer and still lack a build for this Python or processor: then the configured index has to do.
        with contextlib.suppress(SetupError):
            pip_install(environment, ["--no-deps", "--index-url", PYTORCH_CPU_INDEX, *builds], advice)
    # With its dependencies: a CUDA build, if that is what the index has, cannot be imported without them.
    pip_install(environment, [*first, "-c", str(environment.lock)], advice)


def install_locked(environment: Environment) -> None:
    """All other packages, without a resolver: the lock is complete, and a resolver would add what it leaves out."""
    pins = read_lock(environment.lock.read_text(encoding="utf-8"))
    others = [f"{name}=={version}" for name, version in pins.items() if name not in AFTER_THE_OTHERS]
    advice = "pip could not install a locked package: see its last lines above, then run `make setup` again"
    pip_install(environment, ["--no-deps", *others], advice)


def install_deepspeed(environment: Environment) -> None:
    """deepspeed beside the torch that is there: an isolated build would fetch a CUDA torch of several GB."""
    pins = read_lock(environment.lock.read_text(encoding="utf-8"))
    packages = [f"{name}=={pins[name]}" for name in AFTER_THE_OTHERS]
    advice = "deepspeed could not be built: see the last lines above, and check that gcc and g++ are installed"
    pip_install(environment, ["--no-deps", "--no-build-isolation", *packages], advice)


def install_project(environment: Environment) -> None:
    """This checkout, editable: changes of the code need no second set-up."""
    advice = "the project itself could not be installed: pyproject.toml is probably broken, see the last lines above"
    pip_install(environment, ["--no-deps", "--no-build-isolation", "-e", str(environment.root)], advice)


def install_hook(environment: Environment) -> None:
    """The import hook for a torchvision built for CUDA; it does nothing where torchvision works by itself."""
    hook = environment.root / "launch" / "machine" / "torchvision_hook.py"
    run(environment, [str(environment.python), str(hook)], "the torchvision hook could not be written into .venv")


def check_imports(environment: Environment) -> None:
    """Imports the stack once."""
    advice = "the stack is installed but does not import: see the last lines above; `rm -rf .venv` and set up again"
    run(environment, [str(environment.python), "-c", IMPORT_CHECK], advice)


STEPS: tuple[tuple[str, Callable[[Environment], None]], ...] = (
    ("virtual environment", make_venv),
    ("torch", install_torch),
    ("locked packages", install_locked),
    ("deepspeed", install_deepspeed),
    ("sr-real itself", install_project),
    ("torchvision hook", install_hook),
    ("check of the imports", check_imports),
)


@contextlib.contextmanager
def only_one_at_a_time(root: Path) -> Iterator[None]:
    """Two set-ups of one checkout would tear each other's files: the second waits."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def set_up(environment: Environment) -> None:
    """Runs all steps, each with a line; the stamp is written when the last one is done."""
    started_s = time.monotonic()
    environment.stamp.unlink(missing_ok=True)
    for number, (name, step) in enumerate(STEPS, start=1):
        print(f"set-up {number}/{len(STEPS)}: {name} ...", end=" ", flush=True)
        step_started_s = time.monotonic()
        if number > 1:
            environment.unfinished_step.touch()
        try:
            step(environment)
        except SetupError as error:
            environment.unfinished_step.unlink(missing_ok=True)
            raise SetupError(f"set-up failed at step {number}, {name}: {error}") from None
        environment.unfinished_step.unlink(missing_ok=True)
        print(f"{time.monotonic() - step_started_s:.0f} s", flush=True)
    stamp = {"lock_name": environment.lock_name, "digest": compute_digest(environment)}
    environment.stamp.write_text(json.dumps(stamp), encoding="utf-8")
    print(f"set-up done in {time.monotonic() - started_s:.0f} s: .venv ({environment.lock_name}.lock)")


def main(arguments: list[str]) -> int:
    """Sets up if needed; the exit status."""
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description="Makes .venv from a lock file, if it is not up to date.")
    parser.add_argument("--lock", choices=("cpu", "gpu"), help="default: the one that .venv was made from, or cpu")
    chosen = parser.parse_args(arguments).lock
    environment = Environment(root, chosen or read_stamp(root / ".venv").get("lock_name", "cpu"))
    try:
        if is_up_to_date(environment):
            return 0
        with only_one_at_a_time(root):
            if not is_up_to_date(environment):
                set_up(environment)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up interrupted: `make setup` starts it again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
