"""Only one command works in a run's folder at a time."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from actors.run.run_folder import RunFolder
from launch.run import owner
from launch.run.owner import owned
from launch.settings.config import ConfigError

HOLDER = """
import sys, time
from pathlib import Path
from rich.console import Console
from actors.run.run_folder import RunFolder
from launch.run.owner import owned
with owned(RunFolder(Path(sys.argv[1])), Console()):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    return folder


def test_a_second_command_is_refused_with_who_holds_the_folder_and_a_crash_lets_go(folder: RunFolder) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder.root)],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    for name in (folder.root, folder.root.parent / "link"):  # also by another name
        if not name.exists():
            name.symlink_to(folder.root)
        with (
            pytest.raises(ConfigError, match=rf"in use by `-c .*process {holder.pid} on .*, since 20"),
            owned(RunFolder(name), Console(quiet=True)),
        ):
            pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with owned(folder, Console(quiet=True)):
        pass


def test_the_folder_is_free_again_after_its_command(folder: RunFolder) -> None:
    with owned(folder, Console(quiet=True)):
        assert f'"pid": {os.getpid()}' in folder.owner.read_text()
    assert folder.owner.read_text() == ""


def test_a_file_system_without_locks_is_said(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuses)
    said = StringIO()
    with owned(folder, Console(file=said, width=300)):
        pass
    assert "on a file system without locks" in said.getvalue()
    parent = {"host": os.uname().nodename, "pid": os.getppid(), "command": "sr-real train", "since": "now"}
    folder.owner.write_text(json.dumps(parent))
    with (
        pytest.raises(ConfigError, match=f"in use by `sr-real train` .process {os.getppid()}"),
        owned(folder, Console(quiet=True)),
    ):
        pass


def test_a_folder_that_cannot_be_written_to_is_said_in_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="is not writable"),
        owned(RunFolder(tmp_path / "missing"), Console(quiet=True)),
    ):
        pass


def test_a_full_disk_is_said_before_anything_starts(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(owner, "_write", full)
    with pytest.raises(ConfigError, match="no space left on /"), owned(folder, Console(quiet=True)):
        pass
