"""The list of views is the page: each has a tab of its own, and shares no component with another."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dash.development.base_component import Component

from dashboard.app import build_app
from dashboard.board import Board
from dashboard.guard import Guard
from dashboard.run_view import RunView
from dashboard.views import VIEWS
from tests.dashboard.run_on_disk import write_run


def ids_of(contents: Component) -> Iterator[str]:
    """The ids of a component and of all that it contains."""
    for part in (contents, *contents._traverse()):
        if isinstance(part, Component) and getattr(part, "id", None) is not None:
            yield str(part.id)


def test_every_view_has_its_own_name_title_and_components(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "run", 1).root)
    board = Board({view.name: view})
    assert len({view.name for view in VIEWS}) == len({view.title for view in VIEWS}) == len(VIEWS)
    counts = Counter(name for view in VIEWS for name in set(ids_of(view.layout(board))))
    assert [name for name, number in counts.items() if number > 1] == []


def test_the_page_has_a_tab_for_each_view_in_the_lists_order(tmp_path: Path) -> None:
    view = RunView(write_run(tmp_path / "run", 1).root)
    server = build_app(Board({view.name: view}), Guard("token", "127.0.0.1"))
    layout = server.test_client().get("/_dash-layout", headers={"Host": "127.0.0.1"}).get_data(as_text=True)
    places = [layout.index(f'"value":"{view.name}"') for view in VIEWS]
    assert places == sorted(places)
