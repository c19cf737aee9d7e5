"""A run as the page shows it: its files, which may be growing, and its live part while it is under way."""

import threading
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from actors.run.run_folder import RunFolder
from actors.run.status import RunStatus
from dashboard.groups import GroupTable
from dashboard.live import Watched
from dashboard.metrics import MetricsTable
from dashboard.timeline import Timeline
from spatial.images import ImageStore

_FRESH_S = 1.0


class RunView:
    """Reads what a run writes. Any number of threads may use one; files are looked at once a second at most.

    Args:
        root: the run's folder; it may have been copied from elsewhere.
        watched: where it is under way.
    """

    def __init__(self, root: Path, watched: Watched | None = None) -> None:
        self.folder = RunFolder(root.resolve())
        self.name = self.folder.root.name
        self.watched = watched
        self.metrics = MetricsTable(self.folder.metrics)
        self.groups = GroupTable(self.folder.groups, self.folder.trajectories)
        self.timeline = Timeline(self.folder.timeline)
        self.images = ImageStore(self.folder.images)
        self.lock = threading.RLock()
        """Held while columns are read or appended to."""
        self._read_s = float("-inf")

    def refresh(self) -> None:
        """Read what the run has written since."""
        with self.lock:
            if time.monotonic() - self._read_s > _FRESH_S:
                self.metrics.refresh()
                self.groups.refresh()
                self.timeline.refresh()
                self._read_s = time.monotonic()

    @property
    def status(self) -> RunStatus | None:
        """None where it is not under way, or does not answer."""
        return self.watched.status() if self.watched is not None else None

    @property
    def summary(self) -> dict[str, Any]:
        """`summary.json`: marks by phase; empty before there are any."""
        return self.folder.read_summary()

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config; empty if the folder has none, or a damaged one."""
        try:
            return self.folder.read_config() or {}
        except ValueError:  # what the page shows of it is beside the point
            return {}

    @cached_property
    def num_steps(self) -> int | None:
        """Steps of reinforcement learning that were asked for."""
        return self.config.get("training", {}).get("num_steps")
