"""The views of the page, a module each. `VIEWS` is the list; its order is that of the tabs."""

from dashboard.view import View
from dashboard.views import curves, now, samples, timing, workers

VIEWS: tuple[View, ...] = (now.VIEW, curves.VIEW, workers.VIEW, samples.VIEW, timing.VIEW)
"""The page opens with the first."""
