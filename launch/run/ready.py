"""What a command needs before actors start: first checked, then prepared in the run's folder."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from actors.run.run_folder import RunFolder
from evaluation.exam import Exam
from launch.machine.space import check_space_for
from launch.run.exams import exams_of_training
from launch.run.prepare import check_data, check_machine, check_model, prepare_base_model, prepare_data
from launch.settings.config import ConfigError, RunConfig
from launch.settings.reward import check_reward
from launch.show.progress import progress_bars
from vlm.files import is_for_want_of_space, no_space

if TYPE_CHECKING:
    from launch.run.start_checks import LearningPhase


@dataclass(frozen=True)
class Needs:
    """What a command uses."""

    data: bool = True
    """The run's own data; False: questions come from elsewhere."""
    model: bool = True
    """The run's base model."""
    phases: "Collection[LearningPhase]" = ()
    """What the samples are used for. Whether they can be, and whether there is disk space for what is written, is
    checked before anything starts."""

    def check(self, config: RunConfig) -> None:
        """Whether this machine and the config allow it; reads and writes nothing of the run.

        Raises:
            ConfigError: something is missing or does not fit together; the message says what to do.
        """
        check_reward(config)
        check_machine(config)
        if self.data:
            check_data(config)
        if self.model:
            check_model(config)


DATA_AND_MODEL = Needs()


@dataclass(frozen=True)
class Prepared:
    """What was prepared when actors start."""

    base_model: Path | None
    """None where a command needs none."""
    exams: tuple[Exam, ...]
    """Benchmarks that training asks (`training.benchmarks`)."""


def prepare(config: RunConfig, folder: RunFolder, needs: Needs, console: Console) -> Prepared:
    """Build or find the data and the base model, and check that they fit each other and the disk.

    Raises:
        ConfigError: the samples cannot be used, or the disk is too small; the message says what to do.
        BadDataError: too many samples are bad.
    """
    try:
        return _prepare(config, folder, needs, console)
    except OSError as error:
        if is_for_want_of_space(error, folder.root):
            raise ConfigError(no_space(folder.root)) from error
        raise


def _prepare(config: RunConfig, folder: RunFolder, needs: Needs, console: Console) -> Prepared:
    if needs.data:
        with progress_bars(console) as bars:
            task = bars.add_task("data", total=None, note="")
            prepare_data(
                config,
                folder,
                num_workers=len(os.sched_getaffinity(0)),
                on_progress=lambda done, total: bars.update(task, completed=done, total=total),
            )
            bars.update(task, completed=1, total=1)
    if not needs.model:
        return Prepared(base_model=None, exams=())
    base_model = prepare_base_model(config, folder)
    check_space_for(config, folder, base_model, needs.phases)
    if not needs.data:
        return Prepared(base_model, exams=())
    from launch.run.start_checks import check_samples  # loads torch, which other commands do without

    with console.status("checking that every sample can be used"):
        check_samples(config, folder, base_model, needs.phases)
    return Prepared(base_model, tuple(exams_of_training(config, folder, console)))
