"""How far a run got, and how it ended, from its files alone."""

import json
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from actors.run.run_folder import RunFolder
from launch.run.record import last_start, own_config
from launch.settings.config import ConfigError

_KNOCK_S = 3.0


LastPhase = Literal["nothing yet", "cold start", "reinforcement learning"]
End = Literal["under way", "finished", "stopped", "killed"]


@dataclass(frozen=True)
class RunState:
    """How far a run got."""

    phase: LastPhase
    step: int
    num_steps: int | None
    """Planned; None where the run's config is not there to tell."""
    end: End
    at: datetime | None
    """When the last step was recorded."""

    def sentence(self) -> str:
        """Such as "it finished reinforcement learning at step 56 of 56 on 2026-11-26 14:02"."""
        when = "" if self.at is None else f" on {self.at:%Y-%m-%d %H:%M}"
        of = "" if self.num_steps is None else f" of {self.num_steps}"
        if self.phase == "nothing yet":
            return "it has just started" if self.end == "under way" else "it made no step"
        if self.end == "under way":
            return f"it is under way: {self.phase}, step {self.step}{of}"
        verb = {"finished": "finished", "stopped": "was stopped in", "killed": "was killed in"}[self.end]
        return f"it {verb} {self.phase} at step {self.step}{of}{when}"


def state_of(root: Path) -> RunState:
    """How far the run in `root` got."""
    folder = RunFolder(root)
    summary = _read(folder.summary)
    config = own_config(folder) or {}
    phase: LastPhase
    start = last_start(folder)
    # A training that has made no step yet has no metrics, but it has begun.
    if _has_lines(folder.metrics) or (start is not None and start["command"] == "train"):
        phase, file, part = "reinforcement learning", folder.metrics, "rl"
        planned = config.get("training", {}).get("num_steps")
    elif _has_lines(folder.cold_start_metrics):
        phase, file, part = "cold start", folder.cold_start_metrics, "cold_start"
        planned = config.get("learner", {}).get("sft", {}).get("steps")
    else:
        return RunState("nothing yet", 0, None, _end(folder, is_finished=False), None)
    step = last_step(file)
    end = _end(folder, is_finished=part in summary and (planned is None or step >= planned))
    at = datetime.fromtimestamp(file.stat().st_mtime) if _has_lines(file) else None
    return RunState(phase, step, planned, end, at)


def _has_lines(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def last_step(file: Path) -> int:
    """The last whole line's step; 0 where there is none."""
    for line in reversed(file.read_text(errors="replace").splitlines() if file.is_file() else []):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0


def explain_not_under_way(root: Path) -> str:
    """Why a run does not answer, and where to look instead."""
    folder = RunFolder(root)
    error = folder.error
    # The record of starts is older than the error of the last of them.
    has_failed = error.is_file() and folder.starts.is_file() and error.stat().st_mtime >= folder.starts.stat().st_mtime
    why = f", because of an error ({error})" if has_failed else ""
    return f"run {root} is not under way: {state_of(root).sentence()}{why}; `sr-real summary run={root}` shows it"


def _end(folder: RunFolder, is_finished: bool) -> End:
    if folder.coordinator.is_file():
        return "under way" if _answers(_read(folder.coordinator).get("address", "")) else "killed"
    return "finished" if is_finished else "stopped"


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
    except (OSError, ValueError):
        return False
    return True


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    return content if isinstance(content, dict) else {}
