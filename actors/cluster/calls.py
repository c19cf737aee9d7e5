"""Remote calls with a deadline and a name, so that every wait is known and every failure has its cause."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

import ray

from rollout.errors import cause_of

P = ParamSpec("P")
T = TypeVar("T")


class Call(Awaitable[T], Protocol[T]):
    """A call under way at an actor, as one of Ray's references is."""

    def future(self) -> Future[T]:
        """Its result, for code without an event loop."""


@overload
def call(
    actor: ray.actor.ActorHandle,
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Call[T]: ...
@overload
def call(
    actor: ray.actor.ActorHandle, method: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs
) -> Call[T]: ...
def call(actor: ray.actor.ActorHandle, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Call[Any]:
    """Start a call of an actor: `call(actor, RolloutWorker.weight_version)`.

    Ray's own `actor.weight_version.remote()` finds the method by its name when the program runs. Here mypy checks the
    method, its arguments and its result.
    """
    return getattr(actor, method.__name__).remote(*args, **kwargs)


class DeadlineError(TimeoutError):
    """A callee did not answer in time; the message says who waited for whom, for what, and how long."""


async def answer(call: Awaitable[T], timeout_s: float, *, waiter: str, callee: str, what: str) -> T:
    """The result of a remote call.

    Raises:
        DeadlineError: no answer within `timeout_s` seconds. The call is cancelled: that ends what it awaits, and stops
            no computation.
        Exception: what the callee raised, of its own type, with a note of who did what (see `in_one_line`).
        ray.exceptions.RayError: the callee itself is gone, or cannot be started.
    """
    try:
        # Not `wait_for`, which makes another task for every call.
        async with asyncio.timeout(timeout_s) as deadline:
            return await call
    except ray.exceptions.RayTaskError as error:
        raise plain_error(error, f"{callee}, {what}") from error
    except TimeoutError:
        if not deadline.expired():
            raise
        _give_up(call)
        raise DeadlineError(f"{waiter} waited {timeout_s:g} s for {callee}: {what}") from None
    except asyncio.CancelledError:
        _give_up(call)
        raise


async def answers(calls: Mapping[str, Awaitable[T]], timeout_s: float, *, waiter: str, what: str) -> list[T]:
    """The results of the same call to several callees, in order, by one deadline for all."""
    return list(
        await asyncio.gather(
            *(answer(call, timeout_s, waiter=waiter, callee=callee, what=what) for callee, call in calls.items())
        )
    )


def plain_error(error: ray.exceptions.RayTaskError, who: str) -> Exception:
    """The error that was raised on the other side, of its own type, with a note of who failed doing what."""
    cause = cause_of(error)
    if not isinstance(cause, Exception) or isinstance(cause, StopIteration | StopAsyncIteration):
        # These mean something else to the code that they would pass through.
        cause = RuntimeError(f"{type(cause).__name__} {cause}".strip())
    cause.add_note(who)
    return cause


def why_gone(error: ray.exceptions.RayError) -> str:
    """Why an actor is gone, in one line: its constructor's error, or how its process ended."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if getattr(error, "actor_init_failed", False):
        return lines[-1]
    because = next((line for line in lines if "because" in line), lines[0])
    # What follows is a list of guesses.
    return because.split(" Some common causes include", 1)[0].removeprefix("The actor is dead because ")


def _give_up(call: Awaitable[object]) -> None:
    """Nobody waits for it any more: cancel what it awaits there. An engine, for one, stops generating the response."""
    if isinstance(call, ray.ObjectRef) and ray.is_initialized():
        ray.cancel(call)
