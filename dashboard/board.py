"""What the page is about, and the few ids by which its views hear of each other."""

from collections.abc import Mapping
from dataclasses import dataclass

from dashboard.metrics import MetricsTable
from dashboard.run_view import RunView

TICK = "tick"
"""A clock of the page: views look for news at it."""
TABS = "tabs"
SCHEME = "scheme"
"""Its `computedColorScheme` is "light" or "dark"."""


@dataclass(frozen=True)
class Board:
    """The runs of a page; the first is its own, the others can be laid over its curves."""

    runs: Mapping[str, RunView]

    @property
    def own(self) -> RunView:
        return next(iter(self.runs.values()))

    def fresh(self, names: list[str]) -> dict[str, MetricsTable]:
        """Up-to-date metrics of the page's own run and of those of these names that it knows."""
        chosen = {name: view for name, view in self.runs.items() if view is self.own or name in names}
        for view in chosen.values():
            view.refresh()
        return {name: view.metrics for name, view in chosen.items()}
