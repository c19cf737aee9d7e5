"""Time: what each loop did in the last steps, how long pushes take, what GPUs did, and which workers are slowest."""

from typing import Any

import dash_mantine_components as dmc
from dash import Input, Output, State, dcc, html, no_update

from actors.pool.member import MemberStatus
from dashboard.board import SCHEME, TABS, TICK, Board
from dashboard.charts import push_figure, stage_figure, timeline_figure
from dashboard.theme import scheme_of
from dashboard.view import Page, View
from dashboard.views.cards import card_tables

NAME = "time"
_CONFIG: Any = {"displaylogo": False, "responsive": True}
_NUM_SLOWEST = 8


def _layout(board: Board) -> Any:
    return dmc.Stack(
        [
            dmc.Group(
                [
                    dmc.Title("What each loop did in the last", order=4),
                    dmc.SegmentedControl(id="last-steps", value="5", data=["1", "5", "20", "100"], size="xs"),
                    dmc.Text("steps", size="sm", c="dimmed"),
                ]
            ),
            dcc.Graph(id="timeline", config=_CONFIG),
            dmc.SimpleGrid(
                [dcc.Graph(id="stages", config=_CONFIG), dcc.Graph(id="pushes", config=_CONFIG)],
                cols={"base": 1, "md": 2},
            ),
            html.Div(id="cards"),
            html.Div(id="slowest"),
            dcc.Store(id="timing-drawn"),
        ]
    )


def _register(page: Page) -> None:
    app, board = page.app, page.board

    @app.callback(
        Output("timeline", "figure"),
        Output("stages", "figure"),
        Output("pushes", "figure"),
        Output("cards", "children"),
        Output("slowest", "children"),
        Output("timing-drawn", "data"),
        Input(TICK, "n_intervals"),
        Input(TABS, "value"),
        Input("last-steps", "value"),
        Input(SCHEME, "computedColorScheme"),
        State("timing-drawn", "data"),
    )
    def draw(_: int, tab: str, last_steps: str, scheme: str | None, drawn: str | None) -> Any:
        if tab != NAME:
            return (no_update,) * 6
        view = board.own
        view.refresh()
        theme = scheme_of(scheme)
        status = view.status
        with view.lock:
            now = f"{view.metrics.generation} {view.metrics.num_steps} {last_steps} {scheme}"
            if now == drawn:
                return (no_update,) * 6
            return (
                timeline_figure(view.timeline.last(int(last_steps)), theme),
                stage_figure(view.metrics, theme),
                push_figure(view.metrics, theme),
                card_tables(view.metrics),
                _slowest(status.workers) if status is not None else [],
                now,
            )


def _slowest(workers: list[MemberStatus]) -> Any:
    measured = sorted((w for w in workers if w.group_s is not None), key=lambda w: -(w.group_s or 0))[:_NUM_SLOWEST]
    rows = [[w.name, f"{w.group_s:.2f} s", f"{w.tokens_per_s:,.0f}" if w.tokens_per_s else "–"] for w in measured]
    head = ["worker", "time per group", "tokens per second"]
    return dmc.Stack([dmc.Title("Slowest workers", order=4), dmc.Table(data={"head": head, "body": rows}, maw=620)])


VIEW = View(NAME, "Time", _layout, _register)
