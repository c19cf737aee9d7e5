"""A run as the page shows it: its files, which may be growing, and its status while it is under way."""

import threading
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from actors.run.run_folder import RunFolder
from actors.run.status import RunStatus
from dashboard.active import ActiveRun
from dashboard.groups import GroupTable
from dashboard.metrics import MetricsTable
from dashboard.timeline import Timeline
from spatial.images import ImageStore

_FRESH_S = 1.0


class RunView:
    """Reads what a run writes. Threads may share one; files are checked at most once a second.

    Args:
        root: the run's folder; it may have been copied from elsewhere.
        active: given while the run is under way.
    """

    def __init__(self, root: Path, active: ActiveRun | None = None) -> None:
        self.folder = RunFolder(root.resolve())
        self.name = self.folder.root.name
        self.active = active
        self.metrics = MetricsTable(self.folder.metrics)
        self.groups = GroupTable(self.folder.groups, self.folder.trajectories)
        self.timeline = Timeline(self.folder.timeline)
        self.images = ImageStore(self.folder.images)
        self.lock = threading.RLock()
        """Hold it while reading columns; `refresh` appends to them."""
        self._read_s = float("-inf")

    def refresh(self) -> None:
        """Read what the run has written since the last call."""
        with self.lock:
            if time.monotonic() - self._read_s > _FRESH_S:
                self.metrics.refresh()
                self.groups.refresh()
                self.timeline.refresh()
                self._read_s = time.monotonic()

    @property
    def status(self) -> RunStatus | None:
        """None if the run has ended, or does not answer."""
        return self.active.status() if self.active is not None else None

    @property
    def summary(self) -> dict[str, Any]:
        """`summary.json`: scores by phase; empty before there are any."""
        return self.folder.read_summary()

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config; empty if it is missing or damaged."""
        try:
            return self.folder.read_config() or {}
        except ValueError:  # the page is useful without it
            return {}

    @cached_property
    def num_steps(self) -> int | None:
        """The planned number of reinforcement learning steps."""
        return self.config.get("training", {}).get("num_steps")
