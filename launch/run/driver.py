"""From a config to a finished run: prepares, starts Ray and the coordinator, shows progress, ends everything."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import ray
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from actors.cluster.placement import runtime_env
from actors.cluster.runtime import Orphans, on_this_node, ray_runtime
from actors.phases.coordinator import REMOTE_COORDINATOR
from actors.run.run_folder import RunFolder
from evaluation.config import EvaluationConfig
from evaluation.responses import Response, Responses
from launch.machine.space import check_space_for
from launch.run.attach import COORDINATOR, announce, namespace_of, withdraw
from launch.run.exams import exams_of_training
from launch.run.outcomes import RunFailedError, RunLostError, Stopped
from launch.run.owner import owned
from launch.run.prepare import (
    check_data,
    check_machine,
    check_model,
    prepare_base_model,
    prepare_data,
    prepare_folder,
)
from launch.run.record import begin_again, record_start
from launch.run.resume import resume_command
from launch.settings.config import ConfigError, RunConfig
from launch.settings.reward import check_reward
from learner.correction import describe_correction, describe_update
from rollout.errors import cause_of, told
from rollout.processes import has_exited
from spatial.dataset import BadDataError
from spatial.sample import SpatialSample
from vlm.errors import CheckpointError
from vlm.files import is_for_want_of_space, no_space

if TYPE_CHECKING:
    from launch.run.start_checks import Phase
    from launch.show.page import RunPage

_POLL_S = 0.5
# For a call to the coordinator, which answers between two steps of its loops.
_ANSWER_S = 60.0
_RAY_PROCESSES = ("gcs_server", "raylet")
_REPEAT = "the same command begins again"


class Driver:
    """A run as a person drives it: `with Driver(config, console) as run: run.cold_start(); run.train()`."""

    def __init__(
        self,
        config: RunConfig,
        console: Console,
        needs_data: bool = True,
        needs_model: bool = True,
        phases: "Collection[Phase]" = (),
    ) -> None:
        """
        Args:
            needs_data: False: the run's data are not made ready; questions come from elsewhere.
            needs_model: False: the run's base model is not made ready.
            phases: what the samples will be used for; whether they can be is told before anything starts,
                and whether there is space for what is written.
        """
        self._needs_data, self._needs_model = needs_data, needs_model
        self._phases = phases
        self.config = config
        self.console = console
        check_reward(config)
        check_machine(config)
        if needs_data:
            check_data(config)
        if needs_model:
            check_model(config)
        self.folder = RunFolder(Path(config.run).resolve())
        self._owning = ExitStack()

    def __enter__(self) -> "Driver":
        prepare_folder(self.folder)
        with ExitStack() as stack:
            stack.enter_context(owned(self.folder, self.console))
            try:
                self._prepare()
            except OSError as error:
                if is_for_want_of_space(error, self.folder.root):
                    raise ConfigError(no_space(self.folder.root)) from error
                raise
            self._start()
            self._owning = stack.pop_all()
        return self

    def _start(self) -> None:
        self._runtime = ray_runtime(self.config.cluster, self.config.num_cpus, self.config.custom_resources)
        self._runtime.__enter__()
        # A scheduler's stop is a person's stop: a checkpoint first. Only now, for Ray sets handlers of its own.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self._orphans = Orphans()
        children = psutil.Process().children(recursive=True)
        self._ray_pids = [process.pid for process in children if process.name() in _RAY_PROCESSES]
        try:
            self._coordinator = REMOTE_COORDINATOR.options(
                name=COORDINATOR,
                namespace=namespace_of(self.folder),
                scheduling_strategy=on_this_node(),
                runtime_env=runtime_env(0),
            ).remote(self.config, self.folder.root, self.config.model_dump(mode="json"))
            self._coordinator.watch.remote()
            announce(self.folder)
            self._page = self._make_page()
        except BaseException:
            self._runtime.__exit__(None, None, None)
            raise

    def _prepare(self) -> None:
        if self._needs_data:
            with _progress(self.console) as bars:
                task = bars.add_task("scenes and questions", total=None, note="")
                prepare_data(
                    self.config,
                    self.folder,
                    num_workers=len(os.sched_getaffinity(0)),
                    on_progress=lambda done, total: bars.update(task, completed=done, total=total),
                )
                bars.update(task, completed=1, total=1)
        if self._needs_model:
            self.base_model = prepare_base_model(self.config, self.folder)
            check_space_for(self.config, self.folder, self.base_model, self._phases)
        if self._needs_data and self._needs_model:
            from launch.run.start_checks import check_samples  # loads torch, which other commands do without

            with self.console.status("checking that every sample can be used"):
                check_samples(self.config, self.folder, self.base_model, self._phases)
            self._exams = exams_of_training(self.config, self.folder, self.console)

    def _make_page(self) -> "RunPage | None":
        if not self.config.dashboard.enabled:
            return None
        from launch.show.page import RunPage

        return RunPage(self.folder, self.config.dashboard, self._coordinator)

    def __exit__(self, *exception: object) -> None:
        withdraw(self.folder)
        try:
            # A coordinator that died has ended nobody; on this machine the runtime does.
            with suppress(ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
                if not self._ray_has_ended():
                    ray.get(self._coordinator.shutdown.remote(), timeout=self.config.cluster.deadlines.stop_s)
        finally:
            with self._owning:
                self._runtime.__exit__(None, None, None)

    def cold_start(self, resume_from: Path | None = None) -> dict[str, Any]:
        """Supervised fine-tuning of the base model, or on from a checkpoint of it; its marks on held-out questions."""
        if resume_from is None:
            self._begin(*self.folder.of_cold_start, *self.folder.of_training, self.folder.summary)
        record_start(self.folder, self.config, "cold-start")
        result = self._coordinator.cold_start.remote(self.base_model, resume_from)
        return self._watch(result, partial(self._resumes, "cold-start"))

    def train(self, checkpoint: Path, resume_from: Path | None = None) -> dict[str, Any]:
        """Reinforcement learning from a Hugging Face folder, or on from a training checkpoint; the marks after it."""
        if resume_from is None:
            self._begin(*(path for path in self.folder.of_training if not checkpoint.is_relative_to(path)))
        record_start(self.folder, self.config, "train", checkpoint)
        if (checkpoint / "tokenizer.json").exists():
            shutil.copyfile(checkpoint / "tokenizer.json", self.folder.tokenizer)
        self.console.print(f"policy update: {describe_update(self.config.learner)}", highlight=False)
        self.console.print(f"off-policy correction: {describe_correction(self.config.learner)}", highlight=False)
        result = self._coordinator.train.remote(checkpoint, resume_from, self._exams)
        return self._watch(result, partial(self._resumes, "train", checkpoint))

    def evaluate(
        self, checkpoint: Path, samples: Sequence[SpatialSample], config: EvaluationConfig, images: Path
    ) -> Responses[Response]:
        """What a model answers to `samples`, whose images are in the store `images`."""
        record_start(self.folder, self.config, "evaluate")
        result = self._coordinator.evaluate.remote(checkpoint, samples, config, images)
        return self._watch(result)

    def rollout_only(self, checkpoint: Path) -> None:
        self._begin(*self.folder.of_steps)
        record_start(self.folder, self.config, "rollout-only", checkpoint)
        self._watch(self._coordinator.rollout_only.remote(checkpoint))

    def learner_only(self, checkpoint: Path, recorded: Path) -> list[dict[str, float]]:
        record_start(self.folder, self.config, "learner-only", checkpoint)
        return self._watch(self._coordinator.learner_only.remote(checkpoint, recorded))

    def export(self, checkpoint: Path, target: Path) -> None:
        record_start(self.folder, self.config, "export")
        self._watch(self._coordinator.export.remote(self.base_model, checkpoint, target))

    def _begin(self, *paths: Path) -> None:
        """Set aside what an earlier run left at `paths`, with the config that it was made with."""
        earlier = begin_again(self.folder, self.config, paths)
        if earlier is not None:
            self.console.print(f"what an earlier run left there is now in {escape(str(earlier))}", highlight=False)

    def _resumes(self, command: str, start: Path | None = None) -> str:
        again = resume_command(self.folder, self.config.run, command, start)
        there = self.folder.checkpoints if command == "train" else self.folder.cold_start_checkpoints
        if any(there.glob("step-*")):
            return f"`{again}` continues from the last checkpoint"
        return f"there is no checkpoint yet: `{again}` begins again"

    def _ray_has_ended(self) -> bool:
        """Whether somebody has ended Ray beside this process, as a signal to the whole process group does. A call to it
        would then wait for a minute, and end this process."""
        return any(has_exited(pid) for pid in self._ray_pids)

    def _watch(self, result: "ray.ObjectRef", again: Callable[[], str] = lambda: _REPEAT) -> Any:
        """Show progress until `result` is there; Ctrl-C asks the run to stop and waits for its checkpoint.

        Args:
            again: says how a person goes on after a stop.

        Raises:
            Stopped: the run was stopped.
            RunLostError: the coordinator died.
            RunFailedError: a part of the run failed; says which, and why.
        """
        stopping_since_s: float | None = None
        finish_s = self.config.cluster.deadlines.until_checkpoint_s
        num_warnings, unfinished = 0, ""
        with _progress(self.console) as bars:
            tasks: dict[str, Any] = {}
            log = PlainLog(self.console)
            while True:
                try:
                    if self._ray_has_ended() or ray.wait([result], timeout=_POLL_S)[0]:
                        break
                    status = ray.get(self._coordinator.status.remote(), timeout=_ANSWER_S)
                    _show(bars, tasks, status.progress)
                    log.show(status.progress)
                    for warning in status.warnings_after(num_warnings):
                        self.console.print(f"[yellow]{escape(warning)}[/]", highlight=False)
                    num_warnings = status.num_warnings
                    self._orphans.reap()
                    if self._page is not None:
                        self._page.announce(self.console)
                except ray.exceptions.ActorDiedError:
                    break
                except ray.exceptions.ActorUnavailableError:
                    time.sleep(_POLL_S)  # until Ray knows what became of it, or has ended itself
                except ray.exceptions.GetTimeoutError:
                    if stopping_since_s is None and not self._ray_has_ended():
                        words = f"the coordinator has not answered for {_ANSWER_S:g} s; {again()}"
                        raise RunLostError(words) from None
                except KeyboardInterrupt:
                    if stopping_since_s is not None:
                        raise  # asked twice: at once
                    stopping_since_s = time.monotonic()
                    self.console.print("[yellow]stopping: first the update under way and a checkpoint (Ctrl-C: now)")
                    self._coordinator.stop.remote()
                if stopping_since_s and time.monotonic() - stopping_since_s > finish_s:
                    unfinished = f"no checkpoint was written within {finish_s:g} s (cluster.deadlines.finish_s); "
                    break
            _finish(bars, tasks)
        if stopping_since_s is not None:
            raise Stopped(unfinished + again())
        if self._ray_has_ended():
            raise RunLostError(f"Ray's processes on this machine were ended from outside; {again()}")
        try:
            return ray.get(result)
        except ray.exceptions.RayTaskError as error:
            # An error of the run's own, though it be about another actor's death.
            cause = cause_of(error)
            if isinstance(cause, BadDataError | CheckpointError):
                raise cause from None
            traceback = self.folder.root / "error.txt"
            kept = f"the whole traceback: {traceback}"
            try:
                traceback.write_text(f"{error}\n")
            except OSError as unwritten:
                kept = f"its traceback could not be written: {unwritten.strerror}"
            raise RunFailedError(f"{told(error)} ({kept})") from None
        except ray.exceptions.ActorDiedError as error:
            raise RunLostError(f"the coordinator died ({_first_line(error)}); {again()}") from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


class PlainLog:
    """A line a phase and a line each tenth of it, where no bar can be drawn (a file, a job's log)."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: tuple[str, int] | None = None

    def show(self, progress: Any) -> None:
        here = (progress.phase, 10 * progress.done // (progress.total or 1))
        if not self._console.is_terminal and here != self._last:
            self._last = here
            count = f"{progress.done}/{progress.total}" if progress.total else ""
            line = " ".join(filter(None, (progress.phase, count, _note(progress.metrics))))
            self._console.print(line, highlight=False)


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<34}", table_column=Column(no_wrap=True, min_width=34)),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True)),
        console=console,
    )


def _show(bars: Progress, tasks: dict[str, Any], progress: Any) -> None:
    if progress.phase not in tasks:
        _finish(bars, tasks)
        tasks[progress.phase] = bars.add_task(progress.phase, total=None, note="")
    bars.update(
        tasks[progress.phase],
        completed=progress.done,
        total=progress.total or None,
        note=_note(progress.metrics),
    )


def _finish(bars: Progress, tasks: dict[str, Any]) -> None:
    for task in tasks.values():
        row = bars.tasks[bars.task_ids.index(task)]
        bars.update(task, completed=row.total or 1, total=row.total or 1)
        bars.stop_task(task)


def _note(metrics: dict[str, Any]) -> str:
    """The few numbers of a step that a person wants to see move."""
    names: dict[str, Callable[[float], str]] = {
        "loss": lambda value: f"loss {value:.3f}",
        "lor/reward_mean": lambda value: f"LOR {value:.2f}",
        "dtr/reward_mean": lambda value: f"DTR {value:.2f}",
        "rollout_tokens_per_s": lambda value: f"{value:,.0f} tokens/s",
    }
    shown = [show(metrics[name]) for name, show in names.items() if metrics.get(name) is not None]
    if metrics.get("num_failures"):
        shown.append(f"{metrics['num_failures']} of {metrics['num_responses']} failed")
    return "  ".join(shown)
