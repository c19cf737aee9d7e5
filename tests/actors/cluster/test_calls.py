"""Deadlines of calls."""

import asyncio
import pickle
from types import SimpleNamespace

import pytest
import ray

from actors.cluster.calls import DeadlineError, answer, call, why_gone
from rollout.errors import RolloutTimeout, in_one_line

pytestmark = pytest.mark.anyio


async def test_a_call_that_passes_its_deadline_names_who_waited_for_whom_and_ends_its_wait() -> None:
    call: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with pytest.raises(DeadlineError, match=r"coordinator waited 0\.01 s for rollout-3: a token"):
        await answer(call, 0.01, waiter="coordinator", callee="rollout-3", what="a token")
    assert call.cancelled()


async def test_an_answer_or_an_error_in_time_comes_as_it_is() -> None:
    async def give(value: int) -> int:
        await asyncio.sleep(0)
        if value < 0:
            raise ValueError("negative")
        return value

    assert await answer(give(3), 60, waiter="a", callee="b", what="c") == 3
    with pytest.raises(ValueError, match="negative"):
        await answer(give(-3), 60, waiter="a", callee="b", what="c")


async def test_a_wait_can_be_cancelled() -> None:
    waiting = asyncio.create_task(answer(asyncio.sleep(60), 60, waiter="a", callee="b", what="c"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def crossed(error: Exception) -> ray.exceptions.RayTaskError:
    """As Ray hands it on: of two types, with the remote traceback as its message."""
    wrapped = ray.exceptions.RayTaskError("RolloutWorker.transfer", "Traceback …", error, pid=1, ip="10.0.0.1")
    return wrapped.as_instanceof_cause()


async def raise_(error: Exception) -> None:
    raise error


async def test_an_error_of_the_callee_keeps_its_type_and_says_who_failed_doing_what_and_why() -> None:
    with pytest.raises(TypeError) as caught:
        await answer(raise_(crossed(TypeError("no encoder for\n  handles"))), 60, waiter="a", callee="b", what="update")
    assert not isinstance(caught.value, ray.exceptions.RayTaskError)
    assert in_one_line(caught.value) == "b, update: TypeError: no encoder for handles"


async def test_a_call_within_a_call_names_both_and_the_innermost_cause() -> None:
    """An engine fails a learner that was called by the coordinator: each hop wraps what it was told."""
    with pytest.raises(TypeError) as inner:
        await answer(raise_(crossed(TypeError("no"))), 60, waiter="learner-0", callee="rollout-1", what="join_transfer")
    again = crossed(crossed(pickle.loads(pickle.dumps(inner.value))))
    with pytest.raises(TypeError) as outer:
        await answer(raise_(again), 60, waiter="coordinator", callee="learner-0", what="push")
    assert in_one_line(outer.value) == "learner-0, push: rollout-1, join_transfer: TypeError: no"
    assert in_one_line(ExceptionGroup("loops", [ValueError("x"), outer.value])) == "ValueError: x"


async def test_a_deadline_of_the_callees_own_is_not_taken_for_the_callers() -> None:
    error = crossed(RolloutTimeout("rollout-1", "pause", 2.5))
    with pytest.raises(RolloutTimeout, match=r"'pause' did not finish within 2\.5 s"):
        await answer(raise_(error), 60, waiter="a", callee="b", what="c")


async def test_an_error_that_would_mean_something_else_here_comes_as_a_plain_one() -> None:
    error = ray.exceptions.RayTaskError("LearnerRank.update", "Traceback …", StopIteration(), pid=1, ip="10.0.0.1")
    with pytest.raises(RuntimeError) as caught:
        await answer(raise_(error), 60, waiter="a", callee="b", what="c")
    assert in_one_line(caught.value) == "b, c: RuntimeError: StopIteration"


def test_why_an_actor_is_gone_is_its_constructors_error_or_how_its_process_ended() -> None:
    cause = ray.exceptions.RayTaskError("R.__init__", "Traceback\n  …\nValueError: no good", ValueError(), actor_id="1")
    assert why_gone(ray.exceptions.ActorDiedError(cause)) == "ValueError: no good"
    killed = ray.exceptions.ActorDiedError()
    killed.error_msg = (
        "The actor died unexpectedly before finishing this task.\n\tpid: 7\nThe actor is dead because its worker "
        "process has died. Worker exit type: SYSTEM_ERROR Some common causes include: (1) the weather"
    )
    assert why_gone(killed) == "its worker process has died. Worker exit type: SYSTEM_ERROR"


class Adder:
    """A class that an actor is made from."""

    def add(self, left: int, right: int) -> int:
        return left + right


async def test_a_call_is_named_by_the_method_of_the_actors_class() -> None:
    class Method:
        async def remote(self, *arguments: int, **named: int) -> tuple[object, ...]:
            return (*arguments, named)

    actor = SimpleNamespace(add=Method())
    assert await call(actor, Adder.add, 1, right=2) == (1, {"right": 2})
