"""Connect to Ray, or explain why it failed: nobody answers, a wrong token, a folder that cannot be written to."""

import logging
import os
import socket
from typing import Any

import ray

from actors.errors import ClusterError

_KNOCK_S = 5.0
TOKEN_ADVICE = (
    "If the cluster wants a token, set RAY_AUTH_MODE=token here and give its token in RAY_AUTH_TOKEN or, as a file, "
    "in RAY_AUTH_TOKEN_PATH"
)


def join(address: str, **options: Any) -> None:
    """Connect this process to a running cluster.

    Raises:
        ClusterError: nobody answers there, or the cluster refuses this process.
    """
    if address.count(":") == 1:  # HOST:PORT; neither "auto" nor "ray://…"
        _knock(address)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except ray.exceptions.AuthenticationError as error:
        raise ClusterError(
            f"the Ray cluster at {address} wants another token ({_first_line(error)}). {TOKEN_ADVICE}"
        ) from None
    except (OSError, RuntimeError, ValueError) as error:
        # Ray itself logs that its token was refused, and raises that it could not connect.
        mode = os.environ.get("RAY_AUTH_MODE", "not set")
        raise ClusterError(
            f"the Ray cluster at {address} cannot be joined ({_first_line(error)}). {TOKEN_ADVICE} (RAY_AUTH_MODE is "
            f"{mode} now). `ray status --address {address}` tries the same"
        ) from None


def start_local(**options: Any) -> None:
    """Start Ray on this machine.

    Raises:
        ClusterError: it does not come up.
    """
    try:
        ray.init("local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False, **options)
    except OSError as error:
        where = f" needs to write {error.filename}, and" if error.filename else ""
        raise ClusterError(
            f"Ray{where} cannot start on this machine ({error.strerror or _first_line(error)}): give it folders that "
            "can be written to (HOME, and RAY_TMPDIR in place of /tmp), with room in them"
        ) from None
    except (RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterError(
            f"Ray did not come up on this machine ({_first_line(error)}). On a busy machine try again; its logs are in "
            "/tmp/ray/session_latest/logs, and `sr-real doctor` checks memory, /dev/shm and ports"
        ) from None


def _knock(address: str) -> None:
    """Find out at once whether anybody answers: Ray would try for two minutes, and log every attempt."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({_first_line(error)}): is it up, and is this its port (6379 unless "
            "`ray start` was given another; 8265 is its dashboard)?"
        ) from None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
