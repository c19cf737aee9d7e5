"""Checkpoints that are either whole or not there.

checkpoints/step-000120/manifest.json       every other file with its size and SHA-256
                       /trainer_state.json  what the caller needs in order to continue
                       /…                   what the learner's ranks wrote
checkpoints/.tmp-step-000123/               being written; renamed when all of it is on disk
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vlm.errors import CheckpointError
from vlm.files import is_for_want_of_space, no_space

_MANIFEST = "manifest.json"
_STATE = "trainer_state.json"
_NAME = re.compile(r"step-(\d{6,})")
_TEMPORARY = ".tmp-"


class CheckpointStore:
    """The checkpoints of a run, as one rank of the learner sees them."""

    def __init__(self, root: Path, keep: int, rank: int = 0, barrier: Callable[[], None] = lambda: None) -> None:
        """
        Args:
            root: the folder of all checkpoints, shared by the ranks.
            keep: how many of the newest checkpoints to keep; with 2 there is one to fall back to.
            rank: rank 0 makes the folder of a checkpoint, and commits it once all have written.
            barrier: waits for all ranks.
        """
        if keep < 1:
            raise ValueError(f"keep={keep}: at least one checkpoint must stay")
        self._root = root
        self._keep = keep
        self._rank = rank
        self._barrier = barrier

    def save(self, step: int, loop_state: Mapping[str, object], write: Callable[[Path], None]) -> Path:
        """Write the checkpoint of `step`; every rank calls this with the same arguments.

        Args:
            step: names the checkpoint; a checkpoint of the same step is replaced.
            loop_state: JSON values, given back by `read_loop_state`; rank 0's counts.
            write: writes this rank's files into a folder (`LearnerEngine.save`).
        """
        temporary, final = self._root / f"{_TEMPORARY}step-{step:06d}", self._root / f"step-{step:06d}"
        try:
            if self._rank == 0:
                self._root.mkdir(parents=True, exist_ok=True)
                for leftover in self._root.glob(f"{_TEMPORARY}*"):
                    shutil.rmtree(leftover)
                temporary.mkdir()
            self._barrier()
            write(temporary)
            self._barrier()
            if self._rank == 0:
                (temporary / _STATE).write_text(json.dumps(loop_state, indent=1))
                _commit(temporary, final)
        except Exception as error:  # any error: half a checkpoint must not fill the disk
            self._give_up(error, temporary)
            raise
        if self._rank == 0:
            for old in list_checkpoints(self._root)[: -self._keep]:
                _remove(old)
        self._barrier()
        return final

    def _give_up(self, error: Exception, temporary: Path) -> None:
        """Remove what was written of a checkpoint; those before it stay whole.

        Raises:
            NoSpaceError: in place of `error`, if the disk is full.
        """
        older = list_checkpoints(self._root)
        needed = _num_bytes(older[-1]) if older else 0
        is_full = is_for_want_of_space(error, self._root, needed - _num_bytes(temporary))
        words = no_space(self._root, needed)
        shutil.rmtree(temporary, ignore_errors=True)
        if is_full:
            kept = f"; the checkpoint before it, {older[-1]}, is whole" if older else ""
            raise NoSpaceError(f"checkpoint {temporary.name.removeprefix(_TEMPORARY)}: {words}{kept}") from error


class NoSpaceError(CheckpointError):
    """A checkpoint could not be written because the disk is full; the message says where, and how much is needed."""


def list_checkpoints(root: Path) -> list[Path]:
    """All checkpoints under `root`, oldest first, good or not."""
    found = [path for path in root.iterdir() if _NAME.fullmatch(path.name)] if root.is_dir() else []
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def verify(checkpoint: Path) -> None:
    """Compare every file with the manifest.

    Raises:
        CheckpointError: a file is missing, truncated or altered; the message names it.
    """
    try:
        manifest = json.loads((checkpoint / _MANIFEST).read_text())
        wrong = _fault_of(manifest)
    except (OSError, ValueError) as error:
        wrong = str(error)
    if wrong:
        raise CheckpointError(f"checkpoint {checkpoint}: the file {_MANIFEST} cannot be read ({wrong})")
    for name, wanted in manifest.items():
        file = checkpoint / name
        if not file.is_file():
            raise CheckpointError(f"checkpoint {checkpoint}: the file {name} is missing")
        if file.stat().st_size != wanted["num_bytes"]:
            raise CheckpointError(
                f"checkpoint {checkpoint}: the file {name} has {file.stat().st_size} bytes, but {wanted['num_bytes']} "
                "were written"
            )
    for name, found in _describe(checkpoint, list(manifest)).items():
        if found != manifest[name]:
            raise CheckpointError(f"checkpoint {checkpoint}: the file {name} was altered (its SHA-256 differs)")


def _fault_of(manifest: Any) -> str:
    """Why this is not the manifest of a checkpoint; empty if it is."""
    if not isinstance(manifest, dict):
        return f"it holds a {type(manifest).__name__}, not files with their sizes"
    for name, wanted in manifest.items():
        if not (isinstance(wanted, dict) and wanted.keys() >= {"num_bytes", "sha256"}):
            return f"it has no size and SHA-256 of {name}"
    return "" if _STATE in manifest else f"it does not list {_STATE}"


def newest_whole(root: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is whole, and what is wrong with newer ones; None: there is no checkpoint yet.

    Raises:
        CheckpointError: there are checkpoints, but none is whole.
    """
    faults: list[str] = []
    for checkpoint in reversed(list_checkpoints(root)):
        try:
            verify(checkpoint)
        except CheckpointError as error:
            faults.append(str(error))
        else:
            return checkpoint, faults
    if faults:
        raise CheckpointError("; ".join([*faults, f"there is no whole checkpoint in {root}"]))
    return None, []


def alternative(checkpoint: Path) -> str:
    """What to do if `checkpoint` cannot be used, in a sentence: resume from the newest good one before it."""
    beside = list_checkpoints(checkpoint.parent)
    older = beside[: beside.index(checkpoint)] if checkpoint in beside else []
    for candidate in reversed(older):
        try:
            verify(candidate)
        except CheckpointError:
            continue
        return f"The one before it is good: --resume-from {candidate}"
    return "There is no good one before it"


def read_loop_state(checkpoint: Path) -> dict[str, Any]:
    """The `loop_state` that `CheckpointStore.save` was called with.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    file = checkpoint / _STATE
    try:
        state = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint}: the file {_STATE} cannot be read ({error})") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"checkpoint {checkpoint}: the file {_STATE} holds a {type(state).__name__}, no state")
    return state


def _num_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _commit(temporary: Path, final: Path) -> None:
    files = sorted(str(path.relative_to(temporary)) for path in temporary.rglob("*") if path.is_file())
    (temporary / _MANIFEST).write_text(json.dumps(_describe(temporary, files), indent=1))
    for path in [*temporary.rglob("*"), temporary]:
        _sync(path)
    if final.exists():  # a run that returned to an older checkpoint reaches the same step again
        retired = final.with_name(f"{_TEMPORARY}retired-{final.name}")
        final.rename(retired)
        temporary.rename(final)
        _remove(retired)
    else:
        temporary.rename(final)
    _sync(final.parent)


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint. If a person moved it elsewhere and left a link, only the link is removed."""
    if checkpoint.is_symlink():
        checkpoint.unlink()
    else:
        shutil.rmtree(checkpoint)


def _describe(folder: Path, files: list[str]) -> dict[str, dict[str, Any]]:
    def describe(name: str) -> dict[str, Any]:
        with (folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"num_bytes": (folder / name).stat().st_size, "sha256": digest}

    # Hashing releases the interpreter lock, and a large model has one file for each rank.
    with ThreadPoolExecutor(max_workers=8) as pool:
        return dict(zip(files, pool.map(describe, files), strict=True))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
