"""The page: its frame, its views, and the routes beside it."""

import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, dcc
from flask import Flask, Response, abort, send_file

from dashboard.board import SCHEME, TABS, TICK, Board
from dashboard.guard import Guard
from dashboard.view import Page
from dashboard.views import VIEWS
from spatial.sample import ImageRef

_ASSETS = Path(__file__).parent / "assets"
_EVERY_MS = 2000
_SHA256 = re.compile(r"[0-9a-f]{64}")


def build_app(board: Board, guard: Guard) -> Flask:
    """A WSGI application that shows the runs of `board`."""
    server = Flask("sr-real", static_folder=None)
    app = Dash(
        "sr-real",
        server=server,  # type: ignore[arg-type]  # an application is one of the ways to give it
        title=f"{board.own.name} · sr-real",
        update_title=None,  # type: ignore[arg-type]  # None leaves the title alone
        serve_locally=True,
        suppress_callback_exceptions=True,  # some components exist only once a group is opened
        assets_folder=str(_ASSETS),
        add_log_handler=False,
    )
    app.layout = _frame(board)
    for view in VIEWS:
        view.register(Page(app, board, guard.may_change))
    _add_routes(server, board)
    guard.protect(server, app.csp_hashes())
    return server


def _frame(board: Board) -> Any:
    is_active = board.own.active is not None
    header = dmc.Group(
        [
            dmc.Group(
                [
                    dmc.Title(board.own.name, order=2),
                    dmc.Badge(
                        "running" if is_active else "ended", color="green" if is_active else "gray", variant="light"
                    ),
                ]
            ),
            dmc.ColorSchemeToggle(
                id=SCHEME, lightIcon="☀", darkIcon="☾", variant="subtle", size="lg", **{"aria-label": "light or dark"}
            ),
        ],
        justify="space-between",
    )
    tabs = dmc.Tabs(
        [
            dmc.TabsList([dmc.TabsTab(view.title, value=view.name) for view in VIEWS], mb="md"),
            *(dmc.TabsPanel(view.layout(board), value=view.name) for view in VIEWS),
        ],
        id=TABS,
        value=VIEWS[0].name,
        keepMounted=True,
        persistence=board.own.name,
    )
    lost = dmc.Alert(
        "The run has ended, or the connection is lost. Everything below is from the last answer. "
        f"To open a run that has ended: sr-real dashboard run={board.own.folder.root}",
        id="lost",
        title="No answer from this page's server",
        color="red",
    )
    page = dmc.Container(dmc.Stack([header, lost, tabs]), size="xl", py="md")
    return dmc.MantineProvider(
        [page, dcc.Interval(id=TICK, interval=_EVERY_MS)], defaultColorScheme="auto", theme={"primaryColor": "blue"}
    )


def _add_routes(server: Flask, board: Board) -> None:
    view = board.own

    @server.get("/answering")
    def answering() -> Response:
        return Response(status=HTTPStatus.NO_CONTENT)

    @server.get("/image/<sha256>")
    def image(sha256: str) -> Response:
        # A hash and nothing else: no name from the network becomes a path.
        if not _SHA256.fullmatch(sha256):
            abort(HTTPStatus.NOT_FOUND)
        file = view.images.path(ImageRef(sha256=sha256, width_px=1, height_px=1))
        if not file.is_file():
            abort(HTTPStatus.NOT_FOUND)
        return send_file(file.resolve(), max_age=86_400)

    @server.get("/download/metrics.csv")
    def metrics() -> Response:
        view.refresh()
        with view.lock:
            lines = list(view.metrics.as_csv())
        name = f'attachment; filename="{re.sub("[^A-Za-z0-9_-]", "_", view.name)}.csv"'
        return Response("".join(lines), mimetype="text/csv", headers={"Content-Disposition": name})
