"""The book of waits, and what is said about those that last."""

import asyncio

import pytest

from actors.pool.waits import Waits

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_equal_waits_are_shown_as_one_with_the_longest_time() -> None:
    clock = Clock()
    waits = Waits(clock)
    with waits.on("roll out", "a serving worker"):
        clock.now_s = 5.0
        ready = 3
        with waits.on("roll out", "a serving worker"), waits.on("learn", lambda: f"groups: {ready} of 16 ready"):
            clock.now_s = 7.0
            ready = 4
            assert [str(wait) for wait in waits.current()] == [
                "roll out has waited 7 s for 2 × a serving worker",
                "learn has waited 2 s for groups: 4 of 16 ready",
            ]
    assert waits.current() == []


async def test_a_wait_is_reported_when_it_passes_the_bound_and_again_when_twice_as_long() -> None:
    clock, said = Clock(), list[str]()
    waits = Waits(clock)
    watching = asyncio.create_task(waits.watch(0.004, lambda: "rollout-0 dead", said.append))

    async def at(now_s: float) -> list[str]:
        clock.now_s = now_s
        await asyncio.sleep(0.01)
        return [message.split(" for ")[0] for message in said]

    with waits.on("learn", "a full batch"):
        assert await at(0.003) == []
        assert len(await at(10.0)) == 1
        assert len(await at(19.0)) == 1
        assert len(await at(21.0)) == 2
    assert said[0] == "learn has waited 10 s for a full batch; workers: rollout-0 dead"
    watching.cancel()
