"""Settings of a run's page. Importing this needs neither Dash nor Ray."""

from typing import Annotated

from pydantic import Field

from spatial.strict import StrictModel


class DashboardConfig(StrictModel):
    """The live page of a run."""

    enabled: bool = True
    """Whether the run serves its page."""
    host: str = "127.0.0.1"
    """Address to listen on. On any address but loopback every request needs the run's token."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port to listen on; null: the first free port from 8270."""
    names: tuple[str, ...] = ()
    """Other host names that reach the page, such as the machine's own; requests for any other host are refused."""
