"""How another terminal reaches a run that is under way: the run's folder says where its coordinator is."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from actors.errors import ClusterError, CoordinatorError, CoordinatorGoneError
from actors.run.run_folder import RunFolder
from launch.run.resume import resume_command_of
from launch.run.state import explain_not_under_way
from launch.settings.config import ConfigError

if TYPE_CHECKING:
    from actors.phases.client import CoordinatorClient

_ANSWER_S = 30.0
_AUTH_MODE = "RAY_AUTH_MODE"


def namespace_of(folder: RunFolder) -> str:
    """Ray's namespace of a run; a cluster may have several runs."""
    return f"sr-real {folder.root.resolve()}"


def announce(folder: RunFolder) -> None:
    """Write into the run's folder where the coordinator is."""
    import ray

    place = {
        "address": ray.get_runtime_context().gcs_address,
        "namespace": namespace_of(folder),
        # Ray turns its token on for a cluster that it starts itself, and a process that joins by address must know.
        "auth_mode": os.environ.get(_AUTH_MODE),
    }
    folder.coordinator.write_text(json.dumps(place) + "\n")


def withdraw(folder: RunFolder) -> None:
    """Remove what says where the coordinator and the page are: the run has ended."""
    folder.coordinator.unlink(missing_ok=True)
    folder.dashboard.unlink(missing_ok=True)


@contextmanager
def attached(root: Path) -> Iterator["CoordinatorClient"]:
    """The coordinator of the run in `root`.

    Raises:
        ConfigError: the run is not under way, or it refuses or does not answer a call that the block makes.
        ClusterError: its cluster refuses this process.
    """
    folder = RunFolder(root)
    if not folder.coordinator.is_file():
        raise ConfigError(explain_not_under_way(root))
    try:
        place = json.loads(folder.coordinator.read_text())
        place = {key: place[key] for key in ("address", "namespace", "auth_mode")}
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{folder.coordinator} is damaged ({error!r}); remove it if the run is not under way"
        ) from None
    _take_auth_mode(place["auth_mode"])
    import ray

    from actors.cluster.joining import join
    from actors.phases.client import CoordinatorClient

    try:
        _knock(place["address"])
        # Something answers there. If it refuses this process, that does not mean that the run was killed.
        join(place["address"], namespace=place["namespace"])
        coordinator = CoordinatorClient.find(_ANSWER_S, who=f"the coordinator of {root}")
    except ClusterError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the run in {root} left {folder.coordinator}, but nobody answers at {place['address']}: it was killed. "
            f"`{resume_command_of(root)}` continues from its last checkpoint ({str(error).splitlines()[0]})"
        ) from None
    try:
        with explaining(root):
            yield coordinator
    finally:
        with suppress(RuntimeError):
            ray.shutdown()


@contextmanager
def explaining(root: Path) -> Iterator[None]:
    """Errors of calls to the coordinator of the run in `root` become those that a command reports.

    Raises:
        ConfigError: the coordinator refuses, does not answer, or is gone.
    """
    try:
        yield
    except CoordinatorGoneError:  # the run ended in between
        raise ConfigError(explain_not_under_way(root)) from None
    except CoordinatorError as error:
        raise ConfigError(str(error)) from None


def _take_auth_mode(mode: str | None) -> None:
    """Use the mode of the run's cluster, unless this process's environment names one."""
    if mode is None or _AUTH_MODE in os.environ:
        return
    os.environ[_AUTH_MODE] = mode
    from ray._raylet import Config  # type: ignore[attr-defined]  # compiled

    # Ray reads its environment when it is imported, perhaps long before this; Ray itself refreshes it like this.
    Config.initialize("")


def _knock(address: str) -> None:
    """Check that something listens there. Ray itself would try for half a minute, and log every attempt.

    Raises:
        OSError: nothing listens.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=3).close()
