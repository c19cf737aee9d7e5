"""Folders that a command will write to, checked before anything is loaded."""

import math
import tempfile
from pathlib import Path

from actors.run.run_folder import RunFolder
from launch.settings.config import ConfigError
from vlm.files import disk_of, free_bytes, gigabytes


def export_target(path: Path, checkpoint: Path) -> Path:
    """A folder to write a model to: a new or empty one, or an earlier export, which is replaced.

    Args:
        checkpoint: of the training, which tells how large the model is.

    Raises:
        ConfigError: it holds something else, or cannot be written to, or there is no space.
    """
    from vlm.export import PROMPT_FILE

    target = path.resolve()
    run = RunFolder(target.parent)
    if run.config.is_file() and target in run.own_paths:
        raise ConfigError(f"{path} belongs to the run {run.root}; give another folder, such as {run.root}/exported")
    check_free_folder(path, PROMPT_FILE, "export")
    check_writable(target)
    check_space(target, _model_bytes(checkpoint), "the model")
    return target


def check_free_folder(path: Path, sign: str, what: str) -> None:
    """Whether a folder may be filled or replaced.

    Args:
        sign: the file by which an earlier result of the same command is known.

    Raises:
        ConfigError: it holds files of another kind.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file; give a folder")
    if path.is_dir() and any(path.iterdir()) and not (path / sign).is_file():
        raise ConfigError(
            f"{path} holds files that no earlier {what} wrote (there is no {sign}); new files would mix with them or "
            "replace them: give a new or empty folder"
        )


def check_writable(folder: Path) -> None:
    """Make the folder, and try to write into it.

    Raises:
        ConfigError: that fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{folder} is not writable ({error.strerror}); give a folder that is") from None


def check_space(folder: Path, needed_bytes: float, what: str, remedy: str = "") -> None:
    """
    Raises:
        ConfigError: less is free where `folder` lies.
    """
    if free_bytes(folder) < needed_bytes:
        raise ConfigError(
            f"{folder}: {what} will take about {gigabytes(needed_bytes)}, and {gigabytes(free_bytes(folder))} are free "
            f"on {disk_of(folder)}; make space there, or give a folder on another disk{remedy}"
        )


def _model_bytes(checkpoint: Path) -> int:
    from learner.training_state import read_layout

    return 4 * sum(math.prod(shape) for shape in read_layout(checkpoint)["weights"].values())
