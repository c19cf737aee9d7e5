"""What every phase of a run is: its arguments, which cross to the coordinator, and what it does there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from actors.phases.session import Session

R = TypeVar("R", covariant=True)


class Phase(Protocol[R]):
    """One thing that a run does. A phase is a frozen dataclass of its arguments, which can be pickled: the command
    line makes it, and the coordinator runs it over what the run's phases share."""

    async def run(self, session: Session) -> R:
        """
        Raises:
            asyncio.CancelledError: the run was stopped before there was a result.
        """


@dataclass(frozen=True)
class TrainedModel:
    """What a phase that trains has made."""

    folder: Path
    """The model, a Hugging Face folder."""
    summary: dict[str, Any]
    """Its results on held-out questions, as `summary.json` has them."""
