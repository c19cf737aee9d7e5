"""Curves: what the policy does over the steps, by path, and other runs over it."""

from typing import Any

import dash_mantine_components as dmc
from dash import MATCH, Dash, Input, Output, State, dcc, html, no_update

from dashboard.board import SCHEME, TABS, TICK, Board
from dashboard.charts import CHARTS, Chart, curve, has_numbers

NAME = "curves"
_GRAPH = "curve"
_CONFIG: Any = {"displaylogo": False, "responsive": True}


def layout(board: Board) -> Any:
    others = [name for name, view in board.runs.items() if view is not board.own]
    return dmc.Stack(
        [
            dmc.Group(
                [
                    dmc.MultiSelect(
                        id="other-runs", label="Other runs over it", data=others, value=others, searchable=True,
                        clearable=True, disabled=not others, placeholder="" if others else "none beside it", w=320,
                    ),
                    dmc.Select(
                        id="smoothing", label="Running mean of", value="1", allowDeselect=False, w=160,
                        data=[{"value": str(width), "label": f"{width} steps"} for width in (1, 5, 20, 100)],
                    ),
                    dmc.Anchor("all numbers (CSV)", href="download/metrics.csv", size="sm", pb=8),
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
            # What was drawn last, so that nothing is sent while nothing is new.
            *(dcc.Store(id={"type": "drawn", "chart": chart.title}) for chart in CHARTS),
        ]
    )  # fmt: skip


def _id(chart: Chart) -> dict[str, str]:
    return {"type": _GRAPH, "chart": chart.title}


def register(app: Dash, board: Board) -> None:
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
            figure = curve(chart, runs, "dark" if scheme == "dark" else "light", int(smoothing), zoom)
            style = {} if has_numbers(chart, runs) else {"display": "none"}
        return figure, style, now


def _zoom(moved: dict[str, Any] | None) -> tuple[float, float] | None:
    """The steps in sight, where the reader chose some."""
    if not moved or "xaxis.range[0]" not in moved:
        return None
    return float(moved["xaxis.range[0]"]), float(moved["xaxis.range[1]"])
