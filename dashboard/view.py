"""What a view of the page is. `dashboard.views` lists them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dash import Dash

from dashboard.board import Board


@dataclass(frozen=True)
class Page:
    """What the callbacks of a view need."""

    app: Dash
    board: Board
    may_change: Callable[[], bool]
    """Whether the request that is being answered may change the run: it carries the token."""


@dataclass(frozen=True)
class View:
    """One tab of the page: its contents, and the callbacks that fill them."""

    name: str
    """The value of `TABS` while the view is open. Callbacks return `no_update` while another view is."""
    title: str
    """What its tab is called."""
    layout: Callable[[Board], Any]
    register: Callable[[Page], None]
