"""Files of models: permissions, full disks, and which weights a folder holds."""

import errno
import os
import shutil
from pathlib import Path

from blake3 import blake3

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
# If a write fails and less than this is free, the disk is full, whatever the error says.
_NOTHING_LEFT_BYTES = 2**20

_SAMPLE_BYTES, _NUM_SAMPLES = 2**16, 256


def follow_umask(folder: Path) -> None:
    """Give every file in `folder` the permissions of an ordinary new file. safetensors makes its files readable by
    their owner only, and then nobody else can serve the model."""
    umask = os.umask(0)
    os.umask(umask)
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(0o666 & ~umask)


def weights_fingerprint(folder: Path) -> str:
    """BLAKE3 of samples of a model folder's weights, so that large ones take no time either: 256 pieces of 64 KiB of
    each file, evenly spaced. It tells a model from one that was trained further, because training changes weights
    everywhere; it does not protect against forgery."""
    digest = blake3()
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        step = max(_SAMPLE_BYTES, size // _NUM_SAMPLES)
        with file.open("rb") as weights:
            for start in range(0, size, step):
                weights.seek(start)
                digest.update(weights.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def is_for_want_of_space(error: BaseException, folder: Path, needed_bytes: int = 0) -> bool:
    """Whether a write into `folder` failed because its disk is full. Libraries report this in different ways."""
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return True
    return free_bytes(folder) < max(_NOTHING_LEFT_BYTES, needed_bytes)


def no_space(path: Path, needed_bytes: int | None = None) -> str:
    """Such as "no space left on / at /runs/mine: about 1.2 GB needed, 0.3 GB free"."""
    needed = "" if not needed_bytes else f"about {gigabytes(needed_bytes)} needed, "
    return f"no space left on {disk_of(path)} at {path}: {needed}{gigabytes(free_bytes(path))} free"


def free_bytes(path: Path) -> int:
    """The space that an ordinary user may still write on the disk of `path`, which need not exist yet."""
    return shutil.disk_usage(_existing(path)).free


def disk_of(path: Path) -> Path:
    """The mount point of the disk of `path`."""
    here = _existing(path).resolve()
    return next(folder for folder in (here, *here.parents) if folder.is_mount() or folder == folder.parent)


def gigabytes(num_bytes: float) -> str:
    """Such as "1.2 GB"; below 0.1 GB such as "35 MB"."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.0f} MB"


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
