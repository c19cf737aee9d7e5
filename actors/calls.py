"""Remote calls with a deadline and a name, so that no wait is silent."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class DeadlineError(TimeoutError):
    """Somebody did not answer in time; the message says who waited for whom, for what, and how long."""


async def answer(call: Awaitable[T], timeout_s: float, *, waiter: str, callee: str, what: str) -> T:
    """The result of a remote call.

    Raises:
        DeadlineError: no answer within `timeout_s` seconds. The call itself is not undone.
    """
    try:
        # Not `wait_for`, which makes a task of its own for every call.
        async with asyncio.timeout(timeout_s):
            return await call
    except TimeoutError as error:
        if isinstance(error, DeadlineError):
            raise
        raise DeadlineError(f"{waiter} waited {timeout_s:g} s for {callee}: {what}") from None


async def answers(calls: dict[str, Awaitable[T]], timeout_s: float, *, waiter: str, what: str) -> list[T]:
    """The results of the same call to several callees, in order; the deadline is one for all of them."""
    return list(
        await asyncio.gather(
            *(answer(call, timeout_s, waiter=waiter, callee=callee, what=what) for callee, call in calls.items())
        )
    )
