"""Checkpoints that are whole or not there.

checkpoints/step-000120/manifest.json       every other file with its size and SHA-256
                       /trainer_state.json  whatever the caller must know to go on
                       /…                   what the learner's ranks wrote
checkpoints/.tmp-step-000123/               being written; renamed once all of it is on disk
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path as FilePath
from typing import Any

from vlm.errors import CheckpointError

_MANIFEST = "manifest.json"
_STATE = "trainer_state.json"
_NAME = re.compile(r"step-(\d{6,})")
_TEMPORARY = ".tmp-"


class CheckpointStore:
    """The checkpoints of a run, as one rank of the learner sees them."""

    def __init__(self, root: FilePath, keep: int, rank: int = 0, barrier: Callable[[], None] = lambda: None) -> None:
        """
        Args:
            root: the folder of all checkpoints, shared by the ranks.
            keep: so many of the newest stay; with 2 there is one to fall back to.
            rank: rank 0 makes the folder of a checkpoint, and commits it once all have written.
            barrier: waits for all ranks.
        """
        if keep < 1:
            raise ValueError(f"keep={keep}: at least one checkpoint must stay")
        self._root = root
        self._keep = keep
        self._rank = rank
        self._barrier = barrier

    def save(self, step: int, trainer_state: Mapping[str, object], write: Callable[[FilePath], None]) -> FilePath:
        """Write the checkpoint of `step`; every rank calls this with the same arguments.

        Args:
            step: names the checkpoint; one of the same step is replaced.
            trainer_state: JSON values, given back by `read_trainer_state`; rank 0's counts.
            write: writes this rank's files into a folder (`LearnerEngine.save`).
        """
        temporary, final = self._root / f"{_TEMPORARY}step-{step:06d}", self._root / f"step-{step:06d}"
        if self._rank == 0:
            self._root.mkdir(parents=True, exist_ok=True)
            for leftover in self._root.glob(f"{_TEMPORARY}*"):
                shutil.rmtree(leftover)
            temporary.mkdir()
        self._barrier()
        write(temporary)
        self._barrier()
        if self._rank == 0:
            (temporary / _STATE).write_text(json.dumps(trainer_state, indent=1))
            _commit(temporary, final)
            for old in list_checkpoints(self._root)[: -self._keep]:
                shutil.rmtree(old)
        self._barrier()
        return final


def list_checkpoints(root: FilePath) -> list[FilePath]:
    """All checkpoints under `root`, oldest first, good or not."""
    found = [path for path in root.iterdir() if _NAME.fullmatch(path.name)] if root.is_dir() else []
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def latest_checkpoint(root: FilePath) -> FilePath:
    """The newest checkpoint, every file of it checked.

    Raises:
        CheckpointError: there is none, or the newest is damaged. Names the file, and the good one before it that could
            be used instead: to go back is for a person to decide.
    """
    checkpoints = list_checkpoints(root)
    if not checkpoints:
        raise CheckpointError(f"there is no checkpoint in {root}")
    try:
        verify(checkpoints[-1])
    except CheckpointError as error:
        raise CheckpointError(f"{error}. {alternative(checkpoints[-1])}") from None
    return checkpoints[-1]


def verify(checkpoint: FilePath) -> None:
    """Compare every file with the manifest.

    Raises:
        CheckpointError: a file is missing, truncated or altered; the message names it.
    """
    try:
        manifest = json.loads((checkpoint / _MANIFEST).read_text())
    except (FileNotFoundError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint}: the file {_MANIFEST} cannot be read ({error})") from None
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


def alternative(checkpoint: FilePath) -> str:
    """A sentence for whoever cannot use `checkpoint`: the newest good one before it, and how to take that."""
    beside = list_checkpoints(checkpoint.parent)
    older = beside[: beside.index(checkpoint)] if checkpoint in beside else []
    for candidate in reversed(older):
        try:
            verify(candidate)
        except CheckpointError:
            continue
        return f"The one before it is good: --resume-from {candidate}"
    return "There is no good one before it"


def read_trainer_state(checkpoint: FilePath) -> dict[str, Any]:
    """What the caller of `CheckpointStore.save` gave as `trainer_state`."""
    return json.loads((checkpoint / _STATE).read_text())


def _commit(temporary: FilePath, final: FilePath) -> None:
    files = sorted(str(path.relative_to(temporary)) for path in temporary.rglob("*") if path.is_file())
    (temporary / _MANIFEST).write_text(json.dumps(_describe(temporary, files), indent=1))
    for path in [*temporary.rglob("*"), temporary]:
        _sync(path)
    if final.exists():  # a run that went back comes to the same step again
        retired = final.with_name(f"{_TEMPORARY}retired-{final.name}")
        final.rename(retired)
        temporary.rename(final)
        shutil.rmtree(retired)
    else:
        temporary.rename(final)
    _sync(final.parent)


def _describe(folder: FilePath, files: list[str]) -> dict[str, dict[str, Any]]:
    def describe(name: str) -> dict[str, Any]:
        with (folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"num_bytes": (folder / name).stat().st_size, "sha256": digest}

    # Hashing lets go of the interpreter lock, and a large model has a file a rank.
    with ThreadPoolExecutor(max_workers=8) as pool:
        return dict(zip(files, pool.map(describe, files), strict=True))


def _sync(path: FilePath) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
