"""The command that resumes a run, as it can be pasted into a shell."""

import os
import shlex
from pathlib import Path

from actors.run.run_folder import RunFolder
from launch.run.record import last_start, recorded_from
from launch.settings.config import RunConfig
from launch.settings.overrides import lay_over
from vlm.errors import CheckpointError

SUBMITTED = "SR_REAL_SUBMITTED"
"""In a submitted job's environment: the beginning of the `sr-real submit …` that started it."""


def resume_command(folder: RunFolder, run: str, command: str, start: Path | None = None) -> str:
    """The command that continues from the run's last checkpoint. The config is the run's own, so it need not be named.

    Args:
        run: the folder as the person wrote it.
        command: `cold-start` or `train`.
        start: the model that `train` started from.
    """
    submitted = os.environ.get(SUBMITTED)
    if submitted:  # where training started from is in the run's record
        return f"{submitted} {shlex.join(['--command', command, '--resume', run_override(run)])}"
    given = [] if command != "train" or start is None or start == folder.cold_start_model else ["--from", str(start)]
    return shlex.join(["sr-real", command, "--resume", *given, run_override(run)])


def resume_command_of(root: Path) -> str:
    """The same for a run of which only the folder is left."""
    folder = RunFolder(root.resolve())
    last = last_start(folder)
    return resume_command(folder, str(root), last["command"] if last else "train", recorded_from(folder))


def run_override(run: str) -> str:
    """`run=…`, in quotes if it would lose some that are its own."""
    plain = f"run={run}"
    return plain if lay_over({}, [plain], RunConfig).get("run") == run else f'run="{run}"'


def check_resumable(checkpoint: Path, command: str, config: RunConfig) -> None:
    """Check, from the checkpoint's small files alone, that a run with this config can continue from it.

    Raises:
        CheckpointError: it is of another command, it is damaged, or it is laid out by other settings.
    """
    from learner.checkpoint_store import read_loop_state
    from learner.training_state import check_layout

    state = read_loop_state(checkpoint)
    wanted = {"train": ("step", "lanes"), "cold-start": ("losses", "seconds")}[command]
    if missing := [key for key in wanted if key not in state]:
        raise CheckpointError(
            f"checkpoint {checkpoint} was not written by `sr-real {command}`: its state has no "
            f"{' and no '.join(missing)}"
        )
    if command == "cold-start":
        check_layout(checkpoint, config.learner.for_cold_start())
        return
    check_layout(checkpoint, config.learner)
    trained = [path.value for path, number in config.training.groups_per_step.items() if number]
    if new := [path for path in trained if path not in state["lanes"]]:
        raise CheckpointError(
            f"checkpoint {checkpoint}: {', '.join(new)} was not trained, but training.groups_per_step asks for it; "
            "restore the paths, or start from an exported model in another folder: run=…"
        )
