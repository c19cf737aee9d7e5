"""From a config to a finished run. A demo, for example, is the whole method:

with Driver(config, console, Needs(phases=["cold_start", "train"])) as run:   # prepares data and base model
    start = run.cold_start()              # supervised fine-tuning, then held-out questions
    final = run.train(start.folder)       # reinforcement learning, then the same questions
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.markup import escape

from actors.phases.cold_start import ColdStart
from actors.phases.evaluation import Evaluate
from actors.phases.export import Export
from actors.phases.learner_only import LearnerOnly
from actors.phases.phase import TrainedModel
from actors.phases.reinforcement import Reinforce
from actors.phases.rollout_only import RolloutOnly
from actors.run.run_folder import RunFolder
from evaluation.config import EvaluationConfig
from evaluation.responses import Response, Responses
from launch.run.live import LiveRun
from launch.run.owner import owned
from launch.run.prepare import prepare_folder
from launch.run.ready import DATA_AND_MODEL, Needs, Prepared, prepare
from launch.run.record import begin_again, record_start, recorded_from
from launch.run.resume import resume_command
from launch.settings.config import RunConfig
from learner.description import describe_correction, describe_update
from spatial.sample import SpatialSample


class Driver:
    """The phases of a run, for commands. Each one is recorded in the run's folder, run by the coordinator, and shown
    until it ends; see `LiveRun.run` for how it may end."""

    def __init__(self, config: RunConfig, console: Console, needs: Needs = DATA_AND_MODEL) -> None:
        """
        Raises:
            ConfigError: this machine or the config does not allow what is needed.
        """
        needs.check(config)
        self.config = config
        self.console = console
        self.folder = RunFolder(Path(config.run).resolve())
        self._needs = needs
        self._prepared: Prepared
        self._live: LiveRun
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        prepare_folder(self.folder)
        with ExitStack() as stack:
            stack.enter_context(owned(self.folder, self.console))
            self._prepared = prepare(self.config, self.folder, self._needs, self.console)
            self._live = stack.enter_context(LiveRun(self.config, self.folder, self.console))
            self._parts = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._parts.close()

    def cold_start(self, resume_from: Path | None = None) -> TrainedModel:
        """Supervised fine-tuning of the base model, or its continuation from a checkpoint."""
        if resume_from is None:
            self._set_aside(*self.folder.of_cold_start, *self.folder.of_training, self.folder.summary)
        record_start(self.folder, self.config, "cold-start")
        return self._live.run(ColdStart(self._base_model, resume_from), self._resumes("cold-start"))

    def train(self, start: Path, resume_from: Path | None = None) -> TrainedModel:
        """Reinforcement learning from the model in `start`, or its continuation from a training checkpoint."""
        if resume_from is None:
            self._set_aside(*(path for path in self.folder.of_training if not start.is_relative_to(path)))
        record_start(self.folder, self.config, "train", start)
        if (start / "tokenizer.json").exists():
            shutil.copyfile(start / "tokenizer.json", self.folder.tokenizer)
        self.console.print(f"policy update: {describe_update(self.config.learner)}", highlight=False)
        self.console.print(f"off-policy correction: {describe_correction(self.config.learner)}", highlight=False)
        phase = Reinforce(start, resume_from, self._prepared.exams)
        return self._live.run(phase, self._resumes("train", start))

    def evaluate(
        self, model: Path, samples: Sequence[SpatialSample], config: EvaluationConfig, images: Path
    ) -> Responses[Response]:
        """A model's answers to `samples`, whose images are in the store `images`."""
        record_start(self.folder, self.config, "evaluate")
        return self._live.run(Evaluate(model, samples, config, images))

    def rollout_only(self, model: Path) -> None:
        self._set_aside(*self.folder.of_steps)
        record_start(self.folder, self.config, "rollout-only", model)
        self._live.run(RolloutOnly(model))

    def learner_only(self, model: Path, recorded: Path) -> list[dict[str, float]]:
        """Metrics of one update for each step that is recorded in the folder `recorded`."""
        record_start(self.folder, self.config, "learner-only", model)
        return self._live.run(LearnerOnly(model, recorded))

    def export(self, checkpoint: Path, target: Path, only_adapters: bool = False) -> None:
        """Write the model of a training checkpoint to `target`, or its adapters alone."""
        record_start(self.folder, self.config, "export")
        self._live.run(Export(self._base_of(checkpoint), checkpoint, target, only_adapters))

    def _base_of(self, checkpoint: Path) -> Path:
        """The model that a checkpoint needs beside itself: of adapters the one that they were trained on, else any of
        the same shape."""
        from learner.training_state import base_folder

        # The run may have been moved since, with the model in it.
        found = [base_folder(checkpoint), recorded_from(self.folder)] if self.config.learner.lora else []
        return next((folder for folder in found if folder is not None and folder.is_dir()), self._base_model)

    @property
    def _base_model(self) -> Path:
        assert self._prepared.base_model is not None, "the command did not say that it needs the base model"
        return self._prepared.base_model

    def _set_aside(self, *paths: Path) -> None:
        """Move what an earlier run left at `paths`, with the config that it was made with."""
        earlier = begin_again(self.folder, self.config, paths)
        if earlier is not None:
            self.console.print(f"the earlier run's files were moved to {escape(str(earlier))}", highlight=False)

    def _resumes(self, command: str, start: Path | None = None) -> Callable[[], str]:
        """Says how a person continues after a stop."""

        def words() -> str:
            again = resume_command(self.folder, self.config.run, command, start)
            there = self.folder.checkpoints if command == "train" else self.folder.cold_start_checkpoints
            if any(there.glob("step-*")):
                return f"`{again}` continues from the last checkpoint"
            return f"there is no checkpoint yet: `{again}` starts over"

        return words
