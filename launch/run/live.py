"""A run under way, seen from the process that started it: Ray, the coordinator, the page, and following a phase."""

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self, TypeVar, cast

import psutil
from rich.console import Console

from actors.cluster.runtime import Orphans, ray_runtime
from actors.errors import CoordinatorGoneError, CoordinatorUnreachableError, NoAnswerError
from actors.phases.client import CoordinatorClient, PhaseFailedError, PhaseUnderWay
from actors.phases.phase import Phase
from actors.run.run_folder import RunFolder
from launch.run.attach import announce, namespace_of, withdraw
from launch.run.deadlines import with_update_deadline
from launch.run.outcomes import RunFailedError, RunLostError, Stopped
from launch.settings.config import RunConfig
from launch.show.progress import StatusDisplay
from rollout.processes import has_exited
from spatial.dataset import BadDataError
from vlm.errors import CheckpointError

if TYPE_CHECKING:
    from launch.show.page import RunPage

R = TypeVar("R")

_POLL_S = 0.5
# Longest wait for an answer of the coordinator, which answers between two steps of its loops.
_ANSWER_S = 60.0
_RAY_PROCESSES = ("gcs_server", "raylet")


def _repeat() -> str:
    return "run the same command again"


class LiveRun:
    """Starts Ray, the coordinator and the page when it is entered, and ends every process when it is left."""

    def __init__(self, config: RunConfig, folder: RunFolder, console: Console) -> None:
        self._config = config
        self._folder = folder
        self._console = console
        self._runtime = ExitStack()
        self._orphans: Orphans
        self._ray_pids: list[int] = []
        self._coordinator: CoordinatorClient
        self._page: RunPage | None = None

    def __enter__(self) -> Self:
        config = self._config
        with ExitStack() as stack:
            stack.enter_context(ray_runtime(config.cluster, config.num_cpus, config.custom_resources))
            config = self._config = with_update_deadline(config, self._console)
            # SIGTERM, by which schedulers end a job, is handled like Ctrl-C: a checkpoint first. It is set only now,
            # because Ray sets its own handlers.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            self._orphans = Orphans()
            children = psutil.Process().children(recursive=True)
            self._ray_pids = [process.pid for process in children if process.name() in _RAY_PROCESSES]
            resolved = config.model_dump(mode="json")
            namespace = namespace_of(self._folder)
            self._coordinator = CoordinatorClient.start(config, self._folder.root, resolved, namespace, _ANSWER_S)
            announce(self._folder)
            if config.dashboard.enabled:
                from launch.show.page import RunPage

                self._page = RunPage(self._folder, config.dashboard, self._coordinator)
            self._runtime = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        withdraw(self._folder)
        # A coordinator that died has not ended its workers; on this machine, leaving the runtime does.
        with self._runtime, suppress(CoordinatorGoneError, NoAnswerError):
            if not self._ray_has_ended():
                replace(self._coordinator, answer_s=self._config.cluster.deadlines.stop_s).stop_at_once()

    def run(self, phase: Phase[R], how_to_resume: Callable[[], str] = _repeat) -> R:
        """Run a phase and show its progress. Ctrl-C asks it to stop, and waits for its checkpoint.

        Args:
            how_to_resume: says what a person can do after a stop, or when the run is lost.

        Raises:
            Stopped: the run was stopped.
            RunLostError: the coordinator died.
            RunFailedError: a part of the run failed; the message says which, and why.
            BadDataError, CheckpointError: as the phase raised them.
        """
        under_way = self._coordinator.begin(phase)
        stop = _Stop(self._console, self._config.cluster.deadlines.until_checkpoint_s)
        with StatusDisplay(self._console) as display:  # shows the last part as done only where nothing is raised
            self._follow(under_way, stop, display, how_to_resume)
            if stop.is_asked:
                raise Stopped(stop.outcome + how_to_resume())
            if self._ray_has_ended():
                raise RunLostError(f"Ray's processes on this machine were ended from outside; {how_to_resume()}")
            try:
                return cast(R, under_way.result())  # nobody has stopped it, so None is a result
            except PhaseFailedError as error:
                raise self._failure(error) from None
            except CoordinatorGoneError as error:
                raise RunLostError(f"the coordinator died ({error}); {how_to_resume()}") from None

    def _follow(
        self,
        under_way: PhaseUnderWay[R | None],
        stop: "_Stop",
        display: StatusDisplay,
        how_to_resume: Callable[[], str],
    ) -> None:
        """Show the phase until it has ended, or is not to be waited for.

        Raises:
            RunLostError: the coordinator does not answer, and nobody has asked for a stop.
        """
        while not stop.is_overdue():
            try:
                if self._ray_has_ended() or under_way.has_ended(_POLL_S):
                    break
                display.show(self._coordinator.status())
                self._orphans.reap()
                if self._page is not None:
                    self._page.announce(self._console)
            except CoordinatorUnreachableError:
                time.sleep(_POLL_S)  # until Ray knows whether it has ended, or has ended itself
            except CoordinatorGoneError:
                break
            except NoAnswerError:
                if not stop.is_asked and not self._ray_has_ended():
                    words = f"the coordinator has not answered for {_ANSWER_S:g} s; {how_to_resume()}"
                    raise RunLostError(words) from None
            except KeyboardInterrupt:
                stop.ask(self._coordinator)

    def _failure(self, error: PhaseFailedError) -> Exception:
        """What a person is shown: faults of data and checkpoints as they were raised, any other error in one line, with
        its traceback in a file."""
        if isinstance(error.cause, BadDataError | CheckpointError):
            return error.cause
        file = self._folder.error
        kept = f"the whole traceback: {file}"
        try:
            file.write_text(f"{error.traceback}\n")
        except OSError as unwritten:
            kept = f"its traceback could not be written: {unwritten.strerror}"
        return RunFailedError(f"{error} ({kept})")

    def _ray_has_ended(self) -> bool:
        """Whether Ray's processes were ended from outside, as by a signal to the whole process group. A call to Ray
        would then wait for a minute, and end this process."""
        return any(has_exited(pid) for pid in self._ray_pids)


class _Stop:
    """A person's request to stop, and the wait for its checkpoint."""

    def __init__(self, console: Console, finish_s: float) -> None:
        """
        Args:
            finish_s: how long the update under way and its checkpoint may take.
        """
        self._console = console
        self._finish_s = finish_s
        self._asked_s: float | None = None
        self.outcome = ""
        """What went wrong, for people; empty if nothing did."""

    @property
    def is_asked(self) -> bool:
        return self._asked_s is not None

    def ask(self, coordinator: CoordinatorClient) -> None:
        """
        Raises:
            KeyboardInterrupt: the second time: end at once.
        """
        if self.is_asked:
            raise KeyboardInterrupt
        self._asked_s = time.monotonic()
        self._console.print("[yellow]stopping after the current update and a checkpoint (Ctrl-C again: at once)")
        coordinator.stop()

    def is_overdue(self) -> bool:
        """Whether to wait no longer for the checkpoint."""
        if self._asked_s is None or time.monotonic() - self._asked_s <= self._finish_s:
            return False
        self.outcome = f"no checkpoint was written within {self._finish_s:g} s (cluster.deadlines.finish_s); "
        return True
