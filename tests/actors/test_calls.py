"""Deadlines of calls."""

import asyncio

import pytest

from actors.calls import DeadlineError, answer

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


async def test_whoever_waits_can_be_cancelled() -> None:
    waiting = asyncio.create_task(answer(asyncio.sleep(60), 60, waiter="a", callee="b", what="c"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
