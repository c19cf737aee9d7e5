"""Only one command works in a run's folder at a time: it locks RUN/owner.json and writes there who it is."""

import errno
import fcntl
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from actors.run.run_folder import RunFolder
from launch.settings.config import ConfigError
from vlm.files import no_space

# Errors of file systems that do not support such locks.
_NO_LOCKS = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL}


@contextmanager
def owned(folder: RunFolder, console: Console) -> Iterator[None]:
    """Nobody else works in the run's folder while the block runs.

    The kernel releases the lock when this process ends, in whatever way, also for other hosts of an NFSv4 share.

    Raises:
        ConfigError: another command works in it (which one, where and since when), or it cannot be written to.
    """
    try:
        file = folder.owner.open("a+")
    except OSError as error:
        raise ConfigError(f"{folder.root} is not writable: {error.strerror}; give a folder that is: run=…") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(folder, _read(file)) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _check_without_lock(folder, _read(file), error, console)
        try:
            _write(file, {"host": socket.gethostname(), "pid": os.getpid(), "command": _command(), "since": _now()})
        except OSError as error:
            raise ConfigError(f"{no_space(folder.root)} ({error.strerror})") from None
        try:
            yield
        finally:
            with suppress(OSError):  # a full disk: the lock is released anyway
                _write(file, None)


def _in_use(folder: RunFolder, owner: dict[str, Any]) -> ConfigError:
    who = (
        f"`{owner['command']}` (process {owner['pid']} on {owner['host']}, since {owner['since']})"
        if owner
        else "another"
    )
    return ConfigError(
        f"{folder.root} is in use by {who}; wait until it ends, stop it, or give another folder: run=…. "
        "`sr-real status` and `sr-real watch` show its progress"
    )


def _check_without_lock(folder: RunFolder, owner: dict[str, Any], error: OSError, console: Console) -> None:
    """On a file system without locks only a process of this host can be looked for."""
    if owner and owner["host"] == socket.gethostname() and _is_alive(owner["pid"]):
        raise _in_use(folder, owner)
    last = f"; the last one, on {owner['host']}, did not record its end" if owner else ""
    console.print(
        f"[yellow]{folder.root} is on a file system without locks[/] ({error.strerror}): make sure that no other host "
        f"uses it{last}",
        highlight=False,
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _read(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        found = json.loads(file.read() or "{}")
        return found if found.keys() >= {"host", "pid", "command", "since"} else {}
    except (ValueError, AttributeError):
        return {}


def _write(file: IO[str], owner: dict[str, Any] | None) -> None:
    file.truncate(0)
    if owner is not None:
        file.write(json.dumps(owner) + "\n")
    file.flush()


def _command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _now() -> str:
    return datetime.now(UTC).astimezone().isoformat(sep=" ", timespec="seconds")
