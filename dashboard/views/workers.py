"""Workers: a row for each, and buttons to scale, drain and restart. Each asks for confirmation and is logged."""

from typing import Any

import dash_mantine_components as dmc
from dash import ALL, ClientsideFunction, Input, Output, State, ctx, dcc, html, no_update

from actors.pool.member import MemberStatus
from actors.run.status import RunStatus
from dashboard.active import ActiveRun
from dashboard.board import TABS, TICK, Board
from dashboard.view import Page, View

NAME = "workers"
_HEAD = (
    *("worker", "state", "time in state", "weight version", "tokens per second", "time per group", "running", "queued"),
    *("cache used", "memory", "restarts", "reason", ""),
)
_ACTION = "worker-action"
_ONE_LINE = {"whiteSpace": "nowrap"}
_NO_TOKEN = "Read-only. To make changes, open the link that the run printed at its start (sr-real dashboard run=RUN)."


def _layout(board: Board) -> Any:
    return dmc.Stack(
        [
            html.Div(id="workers"),
            dmc.Group(
                [
                    dmc.NumberInput(id="wanted-size", label="Target number of rollout workers", min=0, value=1, w=220),
                    dmc.Button("Scale", id="scale", variant="light"),
                ],
                align="flex-end",
                style={} if board.own.active is not None else {"display": "none"},
            ),
            html.Div(id="actions"),
            dmc.Modal(
                [
                    dmc.Text(id="question"),
                    dmc.Group(
                        [dmc.Button("Yes", id="confirm"), dmc.Button("No", id="cancel", variant="default")], mt="md"
                    ),
                ],
                id="ask",
                title="Change the run?",
                centered=True,
            ),
            dcc.Store(id="asked"),
        ]
    )


def _register(page: Page) -> None:
    app, board = page.app, page.board
    active = board.own.active

    @app.callback(Output("workers", "children"), Input(TICK, "n_intervals"), Input(TABS, "value"))
    def show(_: int, tab: str) -> Any:
        if tab != NAME:
            return no_update
        status = board.own.status
        if status is None:
            return dmc.Text("The run has ended, so it has no workers.", c="dimmed")
        return _table(status)

    @app.callback(Output("actions", "children"), Input(TICK, "n_intervals"), Input(TABS, "value"))
    def show_actions(_: int, tab: str) -> Any:
        if tab != NAME or active is None:
            return no_update
        return _log_of(active)

    app.clientside_callback(
        ClientsideFunction("page", "action"),
        Output("asked", "data"),
        Input("scale", "n_clicks"),
        Input({"type": _ACTION, "what": ALL, "worker": ALL}, "n_clicks"),
        State("wanted-size", "value"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output("question", "children"), Output("ask", "opened"), Input("asked", "data"), prevent_initial_call=True
    )
    def ask(action: dict[str, Any] | None) -> Any:
        return (no_update, no_update) if action is None else (f"{_in_words(action)}?", True)

    @app.callback(
        Output("ask", "opened", allow_duplicate=True),
        Output("actions", "children", allow_duplicate=True),
        Input("confirm", "n_clicks"),
        Input("cancel", "n_clicks"),
        State("asked", "data"),
        prevent_initial_call=True,
    )
    def answer(_: int | None, __: int | None, action: dict[str, Any]) -> Any:
        if ctx.triggered_id != "confirm" or active is None:
            return False, no_update
        if not page.may_change():
            return False, dmc.Alert(_NO_TOKEN, color="red")
        active.act(_in_words(action), lambda: _do(active, action))
        return False, _log_of(active)


def _do(active: ActiveRun, action: dict[str, Any]) -> None:
    if action["what"] == "scale":
        active.controls.scale(int(action["size"]))
    elif action["what"] == "drain":
        active.controls.drain(str(action["worker"]))
    else:
        active.controls.restart(str(action["worker"]))


def _in_words(action: dict[str, Any]) -> str:
    if action["what"] == "scale":
        return f"scale to {action['size']} rollout workers"
    return f"{action['what']} {action['worker']}"


def _log_of(active: ActiveRun) -> Any:
    return dmc.Stack([dmc.Text(line, size="sm") for line in active.actions], gap=2)


def _table(status: RunStatus) -> Any:
    if not status.workers:
        return dmc.Text("There are no rollout workers.", c="dimmed")
    rows = [dmc.TableTr([dmc.TableTd(cell) for cell in _cells(worker)]) for worker in status.workers]
    head = dmc.TableThead(dmc.TableTr([dmc.TableTh(title) for title in _HEAD]))
    return dmc.TableScrollContainer(dmc.Table([head, dmc.TableTbody(rows)], verticalSpacing=4), minWidth=900)


def _cells(worker: MemberStatus) -> list[Any]:
    return [
        dmc.Text(worker.name, inherit=True, style=_ONE_LINE),
        dmc.Badge(worker.label, color=worker.colour, variant="light", miw="max-content"),
        dmc.Text(_duration(worker.for_s), inherit=True, style=_ONE_LINE),
        "?" if worker.version is None else str(worker.version),
        "–" if worker.tokens_per_s is None else f"{worker.tokens_per_s:,.0f}",
        "–" if worker.group_s is None else f"{worker.group_s:.2f} s",
        str(worker.load),
        "–" if worker.num_waiting is None else str(worker.num_waiting),
        "–" if worker.cache_share is None else f"{worker.cache_share:.0%}",
        "–" if worker.memory_gib is None else f"{worker.memory_gib:.1f} GiB",
        str(worker.incarnation),
        worker.reason,
        dmc.Group([_button("drain", worker.name), _button("restart", worker.name)], gap=4, wrap="nowrap"),
    ]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _button(what: str, worker: str) -> Any:
    return dmc.Button(
        what,
        id={"type": _ACTION, "what": what, "worker": worker},
        size="compact-xs",
        variant="subtle",
        attributes={"root": {"aria-label": f"{what} {worker}"}},
    )


VIEW = View(NAME, "Workers", _layout, _register)
