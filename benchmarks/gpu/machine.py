"""The machine that is measured, and what every part needs to know of it."""

import importlib
import importlib.metadata
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""


@dataclass(frozen=True)
class Bench:
    """What a part needs to know."""

    out: Path
    """Folder of the figures and logs."""
    work: Path
    """Folder of models, images and runs; removed at the end."""
    on_gpu: bool
    """Whether it computes on a card."""
    toy: bool
    """Whether sizes are those of a laptop."""
    card: str
    """The card's name."""

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "out": str(self.out), "work": str(self.work)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Bench":
        return cls(**{**values, "out": Path(values["out"]), "work": Path(values["work"])})


def import_all(*modules: str) -> None:
    """Import what will be needed, before it is a process's turn."""
    for module in modules:
        importlib.import_module(module)


def find_card() -> str | None:
    """The first card's name; None without a card that PyTorch can use. Another process asks: this one never holds a
    card, and imports nothing heavy."""
    code = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    return found.stdout.strip().splitlines()[-1] if found.stdout.strip() else None


def make_importable(work: Path) -> None:
    """Let all processes below this one import the repository, and let vLLM find the project's plugin.

    Where the repository is not installed, nothing declares its entry point, and vLLM's processes would know neither its
    weight transfer nor its models.
    """
    # What is not there must not be waited for.
    os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    paths = [str(ROOT)]
    declared = importlib.metadata.entry_points(group="vllm.general_plugins")
    if not any(entry.value == "rollout.plugin:register" for entry in declared):
        paths.append(str(work / "installed"))
        info = work / "installed" / "sr_real-0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sr-real\nVersion: 0\n")
        (info / "entry_points.txt").write_text("[vllm.general_plugins]\nsr_real = rollout.plugin:register\n")
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
