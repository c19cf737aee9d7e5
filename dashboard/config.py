"""Where a run's page is served. Importing this needs neither Dash nor Ray."""

from typing import Annotated

from pydantic import Field

from spatial.strict import StrictModel


class DashboardConfig(StrictModel):
    """The live page of a run."""

    enabled: bool = True
    """Whether the run serves it."""
    host: str = "127.0.0.1"
    """What is listened on. On another address than loopback everything needs the token."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Null: the first free one from 8270 on."""
    names: tuple[str, ...] = ()
    """Other names by which the page is reached, such as the machine's own; requests for other hosts are refused."""
