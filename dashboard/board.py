"""The runs that the page shows, and the component ids that its views share."""

from collections.abc import Mapping
from dataclasses import dataclass

from dashboard.metrics import MetricsTable
from dashboard.run_view import RunView

TICK = "tick"
"""The page's clock: views update on it."""
TABS = "tabs"
SCHEME = "scheme"
"""The light/dark switch; its `computedColorScheme` is "light" or "dark"."""


@dataclass(frozen=True)
class Board:
    """The runs of a page. The first is the page's own; the others can be compared in its curves."""

    runs: Mapping[str, RunView]

    @property
    def own(self) -> RunView:
        return next(iter(self.runs.values()))

    def fresh(self, names: list[str]) -> dict[str, MetricsTable]:
        """Up-to-date metrics of the page's own run, and of the runs with these names if there are any."""
        chosen = {name: view for name, view in self.runs.items() if view is self.own or name in names}
        for view in chosen.values():
            view.refresh()
        return {name: view.metrics for name, view in chosen.items()}
