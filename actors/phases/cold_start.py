"""Cold start: supervised fine-tuning on the true responses of the training samples, then held-out questions."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from actors.phases.evaluation import evaluate_held_out
from actors.phases.parts import make_publisher, serving_learner
from actors.phases.phase import TrainedModel
from actors.phases.session import Session
from actors.run.run_folder import RunFolder
from evaluation.held_out_report import summary_of
from learner.checkpoint_store import read_loop_state
from learner.config import SftConfig

# Optimiser steps in one call to the learner; progress is updated after each call.
_CHUNK = 10
# Losses that the summary keeps, evenly spread.
_NUM_LOSSES = 200


@dataclass(frozen=True)
class ColdStart:
    """Teach a model the true responses, and evaluate the result."""

    model: Path
    """The model to teach."""
    resume_from: Path | None = None
    """A checkpoint of a cold start that was stopped, with the same settings; None: begin with the first step."""

    async def run(self, session: Session) -> TrainedModel:
        started_s = time.perf_counter()
        config, folder, control = session.config.learner, session.folder, session.control
        control.begin("cold start: loading")
        engines = asyncio.ensure_future(session.start_rollouts(self.model))
        learner, rollouts = await asyncio.gather(
            session.start_learner(
                config.for_cold_start(),
                self.model,
                total_steps=config.sft.steps,
                checkpoints=folder.cold_start_checkpoints,
                engines=engines,
            ),
            engines,
        )
        steps = ColdStartSteps(config.sft, learner, folder, started_s)
        num_responses = await learner.load_chains(
            folder.data / "train.jsonl", session.config.max_bad_share, folder.left_out_of("train")
        )
        await steps.restore(self.resume_from)

        control.begin("cold start", config.sft.steps, saves=True)
        await steps.run(lambda: control.is_stopping, control.advance)
        control.raise_if_stopping()
        await learner.export(folder.cold_start_model)

        publisher = make_publisher(session.config, folder, learner, rollouts)
        async with serving_learner(publisher, version=0):
            result = await evaluate_held_out(session, rollouts, "cold start: held-out questions")
        folder.write_evaluation("cold_start", result.responses)
        learner.shutdown()
        summary = summary_of(result, steps.seconds) | {
            "loss": steps.losses[:: max(1, len(steps.losses) // _NUM_LOSSES)],
            "num_responses": num_responses,
            "num_steps": len(steps.losses),
        }
        folder.write_summary("cold_start", summary)
        return TrainedModel(folder.cold_start_model, summary)


class ColdStartLearner(Protocol):
    """What the cold start needs of the learner."""

    async def cold_start_steps(self, first_step: int, num_steps: int) -> list[dict[str, float]]: ...

    async def load_checkpoint(self, folder: Path) -> None: ...

    async def save_checkpoint(self, step: int, loop_state: Mapping[str, object]) -> None: ...


class ColdStartSteps:
    """Makes the optimiser steps of the cold start. Holds no tensors."""

    def __init__(self, config: SftConfig, learner: ColdStartLearner, folder: RunFolder, started_s: float) -> None:
        """
        Args:
            started_s: when the phase began, by `time.perf_counter`; its time includes loading.
        """
        self._config = config
        self._learner = learner
        self._folder = folder
        self._started_s = started_s
        self._earlier_s = 0.0
        self.losses: list[float | None] = []
        """One for each step made; None for a step that the learner skipped."""

    @property
    def is_finished(self) -> bool:
        return len(self.losses) >= self._config.steps

    @property
    def seconds(self) -> float:
        """Time that the phase has taken, before a resume included."""
        return self._earlier_s + time.perf_counter() - self._started_s

    async def restore(self, checkpoint: Path | None) -> None:
        """Continue from a checkpoint of a cold start that was stopped; None: begin with the first step."""
        if checkpoint is not None:
            await self._learner.load_checkpoint(checkpoint)
            state = read_loop_state(checkpoint)
            self.losses, self._earlier_s = list(state["losses"]), state["seconds"]
        self._folder.truncate_cold_start_metrics(len(self.losses))

    async def run(self, is_stopping: Callable[[], bool], advance: Callable[[int, Mapping[str, float]], None]) -> None:
        """Make the remaining steps. A stop ends this after the steps that are under way, with a checkpoint.

        Args:
            is_stopping: whether to stop; called every few steps.
            advance: called with the number of steps made and the latest step's metrics.
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
