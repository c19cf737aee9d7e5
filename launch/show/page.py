"""Serves the page: for a run under way from one of its actors, for runs that have ended from a terminal."""

import json
import socket
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import urlsplit

import ray
from rich.console import Console

from actors.cluster.runtime import on_this_node
from actors.phases.client import CoordinatorClient
from actors.run.run_folder import RunFolder
from dashboard.active import ActiveRun
from dashboard.board import Board
from dashboard.config import DashboardConfig
from dashboard.run_view import RunView
from dashboard.server import DashboardServer, Place, PortTakenError
from launch.settings.config import ConfigError

_ANSWER_S = 10.0
# Most neighbouring runs whose curves the page can show over its own.
_MAX_OTHERS = 40


class _Dashboard:
    """Answers the page's requests in its own thread; the run does not wait for it."""

    def __init__(self, root: Path, config: DashboardConfig, coordinator: CoordinatorClient) -> None:
        own = RunView(root, ActiveRun(replace(coordinator, answer_s=_ANSWER_S)))
        self._server = DashboardServer(Board(_with_neighbours(own)), config)
        threading.Thread(target=self._server.run, name="dashboard", daemon=True).start()

    def place(self) -> Place:
        return self._server.place


_REMOTE = ray.remote(num_cpus=0, max_restarts=0)(_Dashboard)


class RunPage:
    """The page of a run under way, served from this node by an actor; the run neither waits for it nor needs it."""

    def __init__(self, folder: RunFolder, config: DashboardConfig, coordinator: CoordinatorClient) -> None:
        self._folder = folder
        self._actor = _REMOTE.options(scheduling_strategy=on_this_node()).remote(folder.root, config, coordinator)
        self._asked = [self._actor.place.remote()]

    def announce(self, console: Console) -> None:
        """Print the page's address once, as soon as it is known; returns at once."""
        if not self._asked or not ray.wait(self._asked, timeout=0)[0]:
            return
        try:
            place = ray.get(self._asked.pop())
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            console.print(f"[yellow]the run continues without a page: {reason}[/]", highlight=False)
            return
        # Given its mode before it has content, so that nobody else can read it at any time.
        self._folder.dashboard.touch(mode=0o600)
        self._folder.dashboard.write_text(json.dumps(asdict(place)) + "\n")
        # More people read a log than may change the run, so a log gets no token.
        by_log = f"{place.url} (the link to steer it by: sr-real dashboard run={self._folder.root})"
        shown = place.link if console.is_terminal else by_log
        console.print(f"watch it at {shown}", highlight=False, soft_wrap=True)


def place_of(root: Path) -> Place | None:
    """The address of a run's page; None if nobody serves one, because the run has ended or was killed."""
    file = RunFolder(root).dashboard
    if not file.exists():
        return None
    try:
        place = Place(**json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{file} is damaged ({error}); remove it if the run is not under way") from None
    address = urlsplit(place.url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=3).close()
    except OSError:
        return None
    return place


def serve_runs(roots: Sequence[Path]) -> DashboardServer:
    """A page of runs that have ended, or were copied from elsewhere. It shows the first; the curves of the others can
    be laid over its own.

    Raises:
        ConfigError: a folder is not one of a run, or there is no free port.
    """
    for root in roots:
        if not (root / "config.json").exists() and not (root / "metrics.jsonl").exists():
            raise ConfigError(f"{root} is no run's folder: it has neither config.json nor metrics.jsonl")
    views = [RunView(root) for root in roots]
    runs = {_unique(view, views): view for view in views} if len(views) > 1 else _with_neighbours(views[0])
    try:
        return DashboardServer(Board(runs), DashboardConfig())
    except PortTakenError as error:
        raise ConfigError(str(error)) from None


def _with_neighbours(own: RunView) -> dict[str, RunView]:
    """The run, and the runs in the folders beside its own."""
    beside = sorted(own.folder.root.parent.glob("*/metrics.jsonl"))
    others = [RunView(file.parent) for file in beside if file.parent != own.folder.root]
    return {own.name: own} | {view.name: view for view in others[:_MAX_OTHERS]}


def _unique(view: RunView, views: Sequence[RunView]) -> str:
    alike = sum(other.name == view.name for other in views)
    return view.name if alike == 1 else str(view.folder.root)
