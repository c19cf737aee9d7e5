"""Serves the page on a port."""

import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from waitress.server import create_server

from dashboard.app import build_app
from dashboard.board import Board
from dashboard.config import DashboardConfig
from dashboard.guard import Guard

_NUM_THREADS = 8
# Requests that may wait for a thread; the operating system refuses more.
_BACKLOG = 1024
_FIRST_PORT, _NUM_PORTS = 8270, 100


@dataclass(frozen=True)
class Place:
    """The address of the page."""

    url: str
    token: str

    @property
    def link(self) -> str:
        """The link for people who may change the run; do not log it."""
        return f"{self.url}?token={self.token}"


class PortTakenError(Exception):
    """The port cannot be used; the message says what to set."""


class DashboardServer:
    """The page on a port; `run` starts answering.

    Raises:
        PortTakenError: the port is taken, or the address is not this machine's.
    """

    def __init__(self, board: Board, config: DashboardConfig) -> None:
        token = secrets.token_urlsafe(24)
        application = build_app(board, Guard(token, config.host, config.names))
        ports = [config.port] if config.port else range(_FIRST_PORT, _FIRST_PORT + _NUM_PORTS)
        self._server = _listen(application, config.host, ports)
        shown = f"[{config.host}]" if ":" in config.host else config.host
        self.place = Place(f"http://{shown}:{self._server.effective_port}/", token)

    def run(self) -> None:
        """Answer requests until `close` is called."""
        with suppress(OSError):  # raised when `close` interrupts the wait for requests
            self._server.run()

    def close(self) -> None:
        self._server.close()


def _listen(application: Any, host: str, ports: Iterable[int]) -> Any:
    problem = ""
    for port in ports:
        try:
            return create_server(
                application,
                host=host,
                port=port,
                threads=_NUM_THREADS,
                backlog=_BACKLOG,
                connection_limit=2 * _BACKLOG,
                ident=None,
            )
        except OSError as error:
            problem = f"dashboard.host={host}, dashboard.port={port}: {error.strerror or error}; set another"
    raise PortTakenError(problem)
