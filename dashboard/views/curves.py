"""Curves: the run's metrics over its steps, by path, with other runs to compare."""

from typing import Any

import dash_mantine_components as dmc
from dash import MATCH, Input, Output, State, dcc, html, no_update

from dashboard.board import SCHEME, TABS, TICK, Board
from dashboard.charts import CHARTS, Chart, curve, has_numbers
from dashboard.theme import scheme_of
from dashboard.view import Page, View

NAME = "curves"
_GRAPH = "curve"
_CONFIG: Any = {"displaylogo": False, "responsive": True}


def _layout(board: Board) -> Any:
    others = [name for name, view in board.runs.items() if view is not board.own]
    return dmc.Stack(
        [
            dmc.Group(
                [
                    dmc.MultiSelect(
                        id="other-runs", label="Compare with", data=others, value=others, searchable=True,
                        clearable=True, disabled=not others, placeholder="" if others else "no other runs", w=320,
                    ),
                    dmc.Select(
                        id="smoothing", label="Mean over steps", value="1", allowDeselect=False, w=160,
                        data=[{"value": str(width), "label": f"last {width}"} for width in (1, 5, 20, 100)],
                    ),
                    dmc.Anchor("Download all metrics (CSV)", href="download/metrics.csv", size="sm", pb=8),
                ],
                align="flex-end",
            ),
            dmc.SimpleGrid(
                [
                    html.Div(dcc.Graph(id=_id(chart), config=_CONFIG), id={"type": "frame", "chart": chart.title})
                    for chart in CHARTS
                ],
                cols={"base": 1, "md": 2, "xl": 3},
            ),
            # What was drawn last, so that nothing is sent until there is something new.
            *(dcc.Store(id={"type": "drawn", "chart": chart.title}) for chart in CHARTS),
        ]
    )  # fmt: skip


def _id(chart: Chart) -> dict[str, str]:
    return {"type": _GRAPH, "chart": chart.title}


def _register(page: Page) -> None:
    app, board = page.app, page.board
    charts = {chart.title: chart for chart in CHARTS}

    @app.callback(
        Output({"type": _GRAPH, "chart": MATCH}, "figure"),
        Output({"type": "frame", "chart": MATCH}, "style"),
        Output({"type": "drawn", "chart": MATCH}, "data"),
        Input(TICK, "n_intervals"),
        Input(TABS, "value"),
        Input("other-runs", "value"),
        Input("smoothing", "value"),
        Input(SCHEME, "computedColorScheme"),
        Input({"type": _GRAPH, "chart": MATCH}, "relayoutData"),
        State({"type": "drawn", "chart": MATCH}, "data"),
        State({"type": _GRAPH, "chart": MATCH}, "id"),
    )
    def draw(
        _: int, tab: str, others: list[str] | None, smoothing: str, scheme: str | None,
        moved: dict[str, Any] | None, drawn: str | None, graph: dict[str, str],
    ) -> Any:  # fmt: skip
        if tab != NAME:
            return (no_update,) * 3
        runs = board.fresh(others or [])
        with board.own.lock:
            zoom = _zoom(moved)
            state = str([(name, table.generation, table.num_steps) for name, table in runs.items()])
            now = f"{state} {smoothing} {scheme} {zoom}"
            if now == drawn:
                return (no_update,) * 3
            chart = charts[graph["chart"]]
            figure = curve(chart, runs, scheme_of(scheme), int(smoothing), zoom)
            style = {} if has_numbers(chart, runs) else {"display": "none"}
        return figure, style, now


def _zoom(moved: dict[str, Any] | None) -> tuple[float, float] | None:
    """The steps that the reader zoomed in to; None: all."""
    if not moved or "xaxis.range[0]" not in moved:
        return None
    return float(moved["xaxis.range[0]"]), float(moved["xaxis.range[1]"])


VIEW = View(NAME, "Curves", _layout, _register)
