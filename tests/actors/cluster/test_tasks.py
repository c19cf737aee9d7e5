"""Tasks beside a block: they end with it, and it ends with them when they fail."""

import asyncio

import pytest

from actors.cluster.tasks import background, beside

pytestmark = pytest.mark.anyio


async def test_what_still_runs_when_the_block_ends_is_cancelled_and_what_has_ended_is_not_touched() -> None:
    ended: list[str] = []

    async def short() -> None:
        ended.append("short")

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("endless")

    async with background() as start:
        first, second = start(short()), start(endless())
        await asyncio.sleep(0.01)
        assert ended == ["short"]
    assert ended == ["short", "endless"]
    assert (first.cancelled(), second.cancelled()) == (False, True)


async def test_work_that_fails_ends_the_block_and_all_other_work() -> None:
    others: list[asyncio.Task[None]] = []

    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("no room")

    async def endless() -> None:
        await asyncio.Event().wait()

    async def block() -> None:
        async with asyncio.timeout(5), background() as start:
            others.append(start(endless()))
            start(fail())
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await block()
    assert str(caught.value.exceptions[0]) == "no room"
    assert others[0].cancelled()


async def test_a_block_that_fails_ends_the_work_beside_it() -> None:
    is_cancelled = False

    async def endless() -> None:
        nonlocal is_cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            is_cancelled = True
            raise

    async def block() -> None:
        async with beside(endless()):
            await asyncio.sleep(0.01)
            raise ValueError("no data")

    with pytest.raises(ExceptionGroup) as caught:
        await block()
    assert str(caught.value.exceptions[0]) == "no data"
    assert is_cancelled
