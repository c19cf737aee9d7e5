"""The steps of the cold start: a few at a time, with their metrics and checkpoints, until all are made or a stop."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from actors.run.run_folder import RunFolder
from learner.checkpoint_store import read_trainer_state
from learner.config import SftConfig

# Optimiser steps between two looks at how far it is.
_CHUNK = 10


class Learner(Protocol):
    """What the cold start needs of the learner."""

    async def cold_start_steps(self, first_step: int, num_steps: int) -> list[dict[str, float]]: ...

    async def load_checkpoint(self, folder: Path) -> None: ...

    async def save_checkpoint(self, step: int, trainer_state: Mapping[str, object]) -> None: ...


class ColdStartSteps:
    """Makes the optimiser steps of the cold start. Holds no tensors."""

    def __init__(self, config: SftConfig, learner: Learner, folder: RunFolder, started_s: float) -> None:
        """
        Args:
            started_s: when the phase began, by `time.perf_counter`; loading is part of what it takes.
        """
        self._config = config
        self._learner = learner
        self._folder = folder
        self._started_s = started_s
        self._earlier_s = 0.0
        self.losses: list[float | None] = []
        """Of each step so far; None for one that was left out."""

    @property
    def is_finished(self) -> bool:
        return len(self.losses) >= self._config.steps

    @property
    def seconds(self) -> float:
        """What it has taken so far, with what was made before a resume."""
        return self._earlier_s + time.perf_counter() - self._started_s

    async def restore(self, checkpoint: Path | None) -> None:
        """Continue from a checkpoint of a cold start that was stopped; None: from the beginning."""
        if checkpoint is not None:
            await self._learner.load_checkpoint(checkpoint)
            state = read_trainer_state(checkpoint)
            self.losses, self._earlier_s = list(state["losses"]), state["seconds"]
        self._folder.truncate_cold_start_metrics(len(self.losses))

    async def run(self, is_stopping: Callable[[], bool], advance: Callable[[int, Mapping[str, float]], None]) -> None:
        """Make the remaining steps; after a stop, up to the end of the ones under way, and a checkpoint.

        Args:
            is_stopping: whether to stop, asked now and then.
            advance: called with the number of steps so far and the latest step's metrics.
        """
        while not self.is_finished and not is_stopping():
            steps = await self._make(min(_CHUNK, self._config.steps - len(self.losses)))
            advance(len(self.losses), steps[-1])
            is_due = len(self.losses) % self._config.checkpoint_every < len(steps)
            if is_due or is_stopping():
                state = {"losses": self.losses, "seconds": self.seconds}
                await self._learner.save_checkpoint(len(self.losses), state)

    async def _make(self, num_steps: int) -> Sequence[Mapping[str, float]]:
        first = len(self.losses)
        steps = await self._learner.cold_start_steps(first, num_steps)
        self._folder.append_cold_start_metrics({"step": number, **step} for number, step in enumerate(steps, first + 1))
        self.losses += [step.get("loss") for step in steps]
        return steps
