"""How other processes reach a run's coordinator: the driver, a terminal, the page.

Calls are typed by `Coordinator` itself, and Ray's errors become the run's own, here and nowhere else. Importing this
needs Ray, and none of what the coordinator is made of.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import ray

from actors.errors import (
    CoordinatorGoneError,
    CoordinatorUnreachableError,
    NoAnswerError,
    RequestRefusedError,
)
from rollout.errors import cause_of, in_one_line

if TYPE_CHECKING:
    from actors.config import SessionConfig
    from actors.phases.coordinator import Coordinator
    from actors.phases.phase import Phase
    from actors.pool.member import MemberStatus
    from actors.run.status import RunStatus

R = TypeVar("R")

_NAME = "coordinator"


class PhaseFailedError(Exception):
    """A phase raised an error; the message says who failed, doing what, and why."""

    def __init__(self, error: "ray.exceptions.RayTaskError") -> None:
        super().__init__(in_one_line(error))
        self.cause = cause_of(error)
        """The error itself."""
        self.traceback = str(error)
        """The tracebacks of every process that it passed through."""


class PhaseUnderWay(Generic[R]):
    """A phase that the coordinator runs."""

    def __init__(self, result: "ray.ObjectRef") -> None:
        self._result = result

    def has_ended(self, within_s: float) -> bool:
        """Whether it has ended, waiting `within_s` at most."""
        return bool(ray.wait([self._result], timeout=within_s)[0])

    def result(self) -> R:
        """What it returns, when it has ended.

        Raises:
            PhaseFailedError: it raised an error.
            CoordinatorGoneError: the coordinator died under it.
        """
        try:
            return ray.get(self._result)
        except ray.exceptions.RayTaskError as error:
            # The phase's own error, even if it is about the death of another actor.
            raise PhaseFailedError(error) from None
        except ray.exceptions.ActorDiedError as error:
            raise CoordinatorGoneError(next(iter(str(error).splitlines()), type(error).__name__)) from None


@dataclass(frozen=True)
class CoordinatorClient:
    """The coordinator of a run. It answers between two steps of its loops.

    Raises (every call that returns something, or waits):
        CoordinatorError: it refuses, does not answer in time, or is gone; its subclasses tell these apart.
    """

    actor: "ray.actor.ActorHandle"
    answer_s: float
    """Longest wait for an answer."""
    who: str = "the coordinator"
    """What messages call it."""

    @classmethod
    def start(
        cls, config: "SessionConfig", root: Path, resolved: Mapping[str, object], namespace: str, answer_s: float
    ) -> Self:
        """Start the coordinator of the run in `root` on this node.

        Args:
            resolved: as for `Session`.
            namespace: Ray's namespace of the run.
        """
        from actors.cluster.runtime import on_this_node
        from actors.phases.coordinator import Coordinator

        options = ray.remote(num_cpus=0, max_restarts=0)(Coordinator).options(
            name=_NAME, namespace=namespace, scheduling_strategy=on_this_node()
        )
        return cls(options.remote(config, root, resolved, hides_cards=True), answer_s)

    @classmethod
    def find(cls, answer_s: float, who: str) -> Self:
        """The coordinator of the run whose namespace this process has joined.

        Raises:
            ValueError: there is none.
        """
        return cls(ray.get_actor(_NAME), answer_s, who)

    def begin(self, phase: "Phase[R]") -> PhaseUnderWay[R | None]:
        """Run a phase; returns at once. Its result is None if it was stopped."""
        result, _ = self._send(lambda coordinator: coordinator.run(phase))
        return PhaseUnderWay(result)

    def status(self) -> "RunStatus":
        return self._ask(lambda coordinator: coordinator.status())

    def scale(self, num_rollouts: int) -> "list[MemberStatus]":
        """Grow or shrink the rollout pool; returns at once with the states of all workers."""
        return self._ask(lambda coordinator: coordinator.scale(num_rollouts))

    def drain(self, worker: str) -> None:
        """Let a rollout worker go when it has finished."""
        self._ask(lambda coordinator: coordinator.steer("drain", worker))

    def restart(self, worker: str) -> None:
        """Put another rollout worker in the place of this one now."""
        self._ask(lambda coordinator: coordinator.steer("restart", worker))

    def stop(self) -> None:
        """End the phase soon, after a checkpoint; returns at once."""
        self._send(lambda coordinator: coordinator.stop())

    def stop_at_once(self) -> None:
        """End all workers and their processes; returns when they have ended."""
        self._ask(lambda coordinator: coordinator.stop(at_once=True))

    def _ask(self, call: "Callable[[Coordinator], Coroutine[Any, Any, R]]") -> R:
        answer, method = self._send(call)
        try:
            return ray.get(answer, timeout=self.answer_s)
        except ray.exceptions.RayTaskError as error:
            raise RequestRefusedError(str(error.cause)) from None
        except ray.exceptions.GetTimeoutError:
            raise NoAnswerError(f"{self.who} did not answer '{method}' in {self.answer_s:g} s") from None
        except ray.exceptions.ActorUnavailableError as error:
            raise CoordinatorUnreachableError(f"{self.who} cannot be reached ({type(error).__name__})") from None
        except ray.exceptions.RayError as error:
            raise CoordinatorGoneError(f"{self.who} is gone ({type(error).__name__})") from None

    def _send(self, call: "Callable[[Coordinator], Coroutine[Any, Any, object]]") -> "tuple[ray.ObjectRef, str]":
        """Send what looks like a call of a `Coordinator` to the actor; its answer to come, and the method's name."""
        calls = _Calls(self.actor)
        return call(cast("Coordinator", calls)), calls.method


class _Calls:
    """The coordinator's methods, each of which sends its call to the actor."""

    def __init__(self, actor: "ray.actor.ActorHandle") -> None:
        self._actor = actor
        self.method = ""

    def __getattr__(self, method: str) -> Any:
        self.method = method
        return getattr(self._actor, method).remote
