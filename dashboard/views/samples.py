"""Samples: the recorded groups, with filters; an open one shows its pictures and all its responses."""

import math
from typing import Any

import dash_mantine_components as dmc
from dash import ALL, ClientsideFunction, Input, Output, State, dcc, html, no_update

from dashboard.board import SCHEME, TABS, TICK, Board
from dashboard.groups import GroupQuery, GroupSummary, RecordedGroup, RecordedResponse
from dashboard.run_view import RunView
from dashboard.scene import above_figure, image_figure
from dashboard.spans import pieces
from dashboard.theme import Scheme, scheme_of, shade
from dashboard.view import Page, View
from spatial.answer_text import answer_text
from spatial.sample import ReasoningPath, SpatialSample

NAME = "samples"
_PAGE = 14
# As much of a response as a person can read and a browser can lay out.
_MAX_CHARACTERS = 20_000
_ROW = "group-row"
_CONFIG: Any = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}
_PATH_BADGES = {"lor": "orange", "dtr": "blue", "direct": "teal"}


def _layout(board: Board) -> Any:
    filters = dmc.Group(
        [
            dmc.MultiSelect(id="paths", label="Path", data=[], placeholder="any", clearable=True, w=180),
            dmc.MultiSelect(id="kinds", label="Kind of question", data=[], placeholder="any", clearable=True, w=260),
            dmc.NumberInput(id="first-step", label="From step", min=1, w=100),
            dmc.NumberInput(id="last-step", label="To step", min=1, w=100),
            html.Div(
                [
                    dmc.Text("Mean reward", size="sm", fw=500),
                    dmc.RangeSlider(id="rewards", min=0, max=1, step=0.05, value=[0, 1], minRange=0, w=200, mt=6),
                ]
            ),
            dmc.Checkbox(id="trained-only", label="Trained on only", pb=8),
        ],
        align="flex-end",
    )
    return dmc.Stack(
        [
            filters,
            dmc.Grid(
                [
                    dmc.GridCol(
                        [
                            html.Div(id="groups"),
                            dmc.Pagination(id="page", total=1, value=1, size="sm", mt="sm", withControls=True),
                        ],
                        span={"base": 12, "lg": 4},
                    ),
                    dmc.GridCol(html.Div(id="group"), span={"base": 12, "lg": 8}),
                ]
            ),
            dcc.Store(id="opened"),
        ]
    )


def _register(page: Page) -> None:
    app, board = page.app, page.board
    view = board.own

    @app.callback(
        Output("groups", "children"),
        Output("page", "total"),
        Output("paths", "data"),
        Output("kinds", "data"),
        Input(TICK, "n_intervals"),
        Input(TABS, "value"),
        Input("paths", "value"),
        Input("kinds", "value"),
        Input("first-step", "value"),
        Input("last-step", "value"),
        Input("rewards", "value"),
        Input("trained-only", "checked"),
        Input("page", "value"),
        Input("opened", "data"),
    )
    def find(
        _: int, tab: str, paths: list[str] | None, kinds: list[str] | None, first_step: int | str, last_step: int | str,
        rewards: list[float], trained_only: bool | None, page_number: int, opened: int | None,
    ) -> Any:  # fmt: skip
        if tab != NAME:
            return (no_update,) * 4
        query = GroupQuery(
            paths=tuple(paths or ()),
            kinds=tuple(kinds or ()),
            min_reward=rewards[0],
            max_reward=rewards[1],
            first_step=_number(first_step),
            last_step=_number(last_step),
            trained_only=bool(trained_only),
        )
        return _search(view, query, page_number, opened)

    app.clientside_callback(
        ClientsideFunction("page", "row"),
        Output("opened", "data"),
        Input({"type": _ROW, "number": ALL}, "n_clicks"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output("group", "children"),
        Input("opened", "data"),
        Input(SCHEME, "computedColorScheme"),
        prevent_initial_call=True,
    )
    def show(number: int | None, scheme: str | None) -> Any:
        if number is None:
            return no_update
        try:
            with view.lock:
                group = view.groups.open(number)
        except (IndexError, FileNotFoundError) as error:
            return dmc.Alert(str(error), color="red")
        return _group(view, group, scheme_of(scheme))

    @app.callback(
        Output("pictures", "children"),
        Input("whose", "value"),
        State("opened", "data"),
        State(SCHEME, "computedColorScheme"),
        prevent_initial_call=True,
    )
    def show_centers_of(whose: str, number: int | None, scheme: str | None) -> Any:
        if number is None:
            return no_update
        with view.lock:
            group = view.groups.open(number)
        return _pictures(group, scheme_of(scheme), None if whose == "all" else int(whose))


def _search(view: RunView, query: GroupQuery, page_number: int, opened: int | None) -> tuple[Any, int, Any, Any]:
    """One page of the groups that match, the number of pages, and the paths and kinds that one can filter by."""
    view.refresh()
    with view.lock:
        found = view.groups.find(query)
        on_page = found[_PAGE * (page_number - 1) : _PAGE * page_number]
        shown = [view.groups.summary(int(number)) for number in on_page]
        total, paths, kinds = len(view.groups), sorted(view.groups.paths), sorted(view.groups.kinds)
    num_pages = max(1, math.ceil(len(found) / _PAGE))
    return _list(shown, len(found), total, opened), num_pages, paths, kinds


def _number(value: int | str | None) -> int | None:
    return value if isinstance(value, int) else None


def _list(shown: list[GroupSummary], num_found: int, total: int, opened: int | None) -> Any:
    if not total:
        return dmc.Text("No groups have been recorded yet (training.record_share sets how many are).", c="dimmed")
    rows = [
        dmc.UnstyledButton(
            dmc.Group(
                [
                    dmc.Text(f"{summary.step}", size="sm", c="dimmed", w=44),
                    _path_badge(summary.path),
                    dmc.Text(summary.kind, size="sm", style={"flex": 1}),
                    dmc.Text(_share(summary.reward_mean), size="sm", fw=600),
                    dmc.Progress(value=100 * (0 if math.isnan(summary.reward_mean) else summary.reward_mean), w=60),
                ],
                gap="xs",
                wrap="nowrap",
            ),
            id={"type": _ROW, "number": summary.number},
            w="100%",
            p=6,
            style={
                "borderRadius": 6,
                "opacity": 1 if summary.is_trained else 0.65,
                "background": "var(--mantine-primary-color-light)" if summary.number == opened else "none",
            },
            attributes={"root": {"aria-label": f"step {summary.step}, {summary.path}, {summary.kind}"}},
        )
        for summary in shown
    ]
    number = dmc.Text(f"{num_found:,} of {total:,} groups, newest first", size="sm", c="dimmed")
    return dmc.Stack([number, *rows], gap=2)


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _path_badge(path: str) -> Any:
    return dmc.Badge(path.upper(), color=_PATH_BADGES.get(path, "gray"), variant="light", size="sm", w=62)


def _group(view: RunView, group: RecordedGroup, scheme: Scheme) -> Any:
    sample = group.sample
    members = [str(response.member) for response in group.responses]
    facts = f"step {group.step} · {sample.domain} · {sample.kind} · {sample.sample_id}"
    if not group.is_trained:
        facts += " · not trained on: all its responses had the same reward, or too few were left"
    return dmc.Stack(
        [
            dmc.Group([_path_badge(group.path.value), dmc.Text(facts, size="sm", c="dimmed")], gap="xs"),
            dmc.Text(sample.question, fw=600, style={"whiteSpace": "pre-wrap"}),
            dmc.Text(f"Correct answer: {answer_text(sample.answer)}", size="sm"),
            dmc.Group(
                [
                    dmc.Text("Centres of response", size="sm", c="dimmed"),
                    dmc.SegmentedControl(id="whose", value="all", data=["all", *members], size="xs"),
                ],
                style={} if group.path is ReasoningPath.DTR else {"display": "none"},
            ),
            html.Div(_pictures(group, scheme, None), id="pictures"),
            dmc.SimpleGrid(
                [_response(response, view, sample) for response in group.responses], cols={"base": 1, "sm": 2, "xl": 3}
            ),
            *(dmc.Alert(failure, title="A response failed", color="red") for failure in group.failures),
        ],
        gap="sm",
    )


def _pictures(group: RecordedGroup, scheme: Scheme, chosen: int | None) -> Any:
    figures = [
        image_figure(group, index, f"/image/{image.sha256}", scheme, chosen)
        for index, image in enumerate(group.sample.images)
    ]
    above = above_figure(group, scheme, chosen)
    graphs = [dcc.Graph(figure=figure, config=_CONFIG) for figure in [*figures, *([above] if above else [])]]
    return dmc.SimpleGrid(graphs, cols={"base": 1, "sm": min(2, len(graphs))})


def _response(response: RecordedResponse, view: RunView, sample: SpatialSample) -> Any:
    score = response.score
    parts = [
        ("reward", score.get("total"), "filled"),
        ("accuracy", score.get("accuracy"), "light"),
        ("format", score.get("format"), "light"),
        ("centres", score.get("center"), "light"),
    ]
    badges = [
        dmc.Badge(f"{name} {value:.2f}", color=_colour(value), variant=variant, size="sm")
        for name, value, variant in parts
        if value is not None
    ]
    versions = ", ".join(str(version) for version, _ in response.version_spans)
    facts = f"{len(response.token_ids)} tokens · weights {versions} · {response.engine}"
    if response.finish_reason == "length":
        facts += " · cut off (too long)"
    return dmc.Paper(
        [
            dmc.Group([dmc.Text(f"Response {response.member}", size="sm", fw=600), *badges], gap=4),
            dmc.Text(_coloured(response, view), size="sm", ff="monospace", my=6, style=_PRE),
            dmc.Text(facts, size="xs", c="dimmed"),
        ],
        withBorder=True,
        p="sm",
    )


_PRE = {"whiteSpace": "pre-wrap", "overflowWrap": "anywhere", "maxHeight": 360, "overflow": "auto"}


def _coloured(response: RecordedResponse, view: RunView) -> list[Any]:
    """The text, never markup. If several weight versions wrote it, each part is underlined in its version's colour."""
    found = pieces(response, view.folder.tokenizer)
    left = _MAX_CHARACTERS
    shown: list[Any] = []
    for text, version in found:
        style = {"borderBottom": f"2px solid {shade(version)}"} if len(found) > 1 and version is not None else {}
        shown.append(html.Span(text[:left], style=style, title=f"weights {version}"))
        left = max(0, left - len(text))
    if len(response.text) > _MAX_CHARACTERS:
        shown.append(html.Em(f" … and {len(response.text) - _MAX_CHARACTERS:,} more characters"))
    return shown


def _colour(value: float) -> str:
    return "green" if value >= 0.8 else "yellow" if value >= 0.4 else "red"


VIEW = View(NAME, "Samples", _layout, _register)
