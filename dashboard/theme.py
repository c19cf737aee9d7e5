"""Colours, and the look that all figures share."""

from typing import Literal

import plotly.graph_objects as go

Scheme = Literal["light", "dark"]

PATH_COLOURS = {"lor": "#e8912d", "dtr": "#3b82f6", "direct": "#40a578"}
MARK_COLOURS = {
    "red": "#e03131",
    "blue": "#228be6",
    "green": "#2f9e44",
    "yellow": "#f2c037",
    "cyan": "#15aabf",
    "magenta": "#d6336c",
    "orange": "#fd7e14",
    "white": "#dee2e6",
}
RUN_DASHES = ("solid", "dash", "dot", "dashdot")
"""In a comparison of runs, colours stand for paths and dashes for runs."""
LOOP_COLOURS = {
    "wait": "#adb5bd",
    "update": "#7048e8",
    "push": "#f76707",
    "generate": "#1c7ed6",
    "score": "#2f9e44",
}

_INK = {"light": "#343a40", "dark": "#c9c9c9"}
_GRID = {"light": "rgba(0,0,0,.10)", "dark": "rgba(255,255,255,.12)"}


def scheme_of(computed: str | None) -> Scheme:
    """The scheme that the page's switch computed; light until it has."""
    return "dark" if computed == "dark" else "light"


def styled(figure: go.Figure, scheme: Scheme, height_px: int, title: str = "", keep: str = "") -> go.Figure:
    """Give a figure the page's look.

    Args:
        keep: as long as this stays the same, the reader's zoom is kept.
    """
    figure.update_layout(
        height=height_px,
        title={"text": title, "font": {"size": 14}, "x": 0.01, "y": 0.97} if title else None,
        margin={"l": 44, "r": 12, "t": 34 if title else 10, "b": 32},
        font={"color": _INK[scheme], "size": 12},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        hovermode="x unified",
        hoverlabel={"bgcolor": "#ffffff" if scheme == "light" else "#242424"},
        uirevision=keep,
    )
    figure.update_xaxes(gridcolor=_GRID[scheme], zerolinecolor=_GRID[scheme])
    figure.update_yaxes(gridcolor=_GRID[scheme], zerolinecolor=_GRID[scheme], exponentformat="power", automargin=True)
    return figure


def shade(index: int) -> str:
    """A colour for a weight version; consecutive versions differ."""
    return ("#1c7ed6", "#e8590c", "#2f9e44", "#ae3ec9", "#0c8599", "#e03131")[index % 6]
