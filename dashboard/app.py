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
from dashboard.views import curves, now, samples, timing, workers
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
        suppress_callback_exceptions=True,  # some parts come into being when a group is opened
        assets_folder=str(_ASSETS),
        add_log_handler=False,
    )
    app.layout = _frame(board)
    now.register(app, board)
    curves.register(app, board)
    workers.register(app, board, guard.may_change)
    samples.register(app, board)
    timing.register(app, board)
    _add_routes(server, board)
    guard.protect(server, app.csp_hashes())
    return server


def _frame(board: Board) -> Any:
    views = {
        now.NAME: ("Now", now.layout()),
        curves.NAME: ("Curves", curves.layout(board)),
        workers.NAME: ("Workers", workers.layout(board.own.watched is not None)),
        samples.NAME: ("Samples", samples.layout()),
        timing.NAME: ("Time", timing.layout()),
    }
    state = "under way" if board.own.watched is not None else "ended"
    header = dmc.Group(
        [
            dmc.Group(
                [
                    dmc.Title(board.own.name, order=2),
                    dmc.Badge(state, color="green" if board.own.watched is not None else "gray", variant="light"),
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
            dmc.TabsList([dmc.TabsTab(title, value=name) for name, (title, _) in views.items()], mb="md"),
            *(dmc.TabsPanel(contents, value=name) for name, (_, contents) in views.items()),
        ],
        id=TABS,
        value=now.NAME,
        keepMounted=True,
        persistence=board.own.name,
    )
    lost = dmc.Alert(
        "The run has ended, or the way to it is cut: what is below was so when it last answered. "
        f"`sr-real dashboard run={board.own.folder.root}` opens a run that ended.",
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
