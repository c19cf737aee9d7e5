"""What only Ray itself can show: which cards an actor sees, and that a call which is given up ends there too."""

import asyncio
import os
from collections.abc import Iterator

import pytest
import ray

from actors.cluster.calls import DeadlineError, answer
from actors.cluster.placement import NoRoomError, await_room, runtime_env
from rollout.errors import in_one_line

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


@pytest.fixture(scope="module", autouse=True)
def machine_with_two_cards() -> Iterator[None]:
    ray.init("local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@ray.remote(num_cpus=0)
class Actor:
    def __init__(self) -> None:
        self._num_cancelled = 0

    async def cards(self) -> str | None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    async def wait(self) -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self._num_cancelled += 1
            raise

    async def num_cancelled(self) -> int:
        return self._num_cancelled

    async def fail(self) -> None:
        raise TypeError("no encoder")


@pytest.mark.parametrize(("num_gpus", "seen"), [(0, ""), (1, "0"), (2, "0,1")])
async def test_an_actor_sees_the_cards_that_it_asks_for_and_no_others(num_gpus: int, seen: str) -> None:
    actor = Actor.options(num_gpus=num_gpus, runtime_env=runtime_env(num_gpus)).remote()
    assert await actor.cards.remote() == seen
    ray.kill(actor)


async def test_a_call_that_is_given_up_is_cancelled_where_it_runs() -> None:
    actor = Actor.remote()
    await actor.num_cancelled.remote()
    with pytest.raises(DeadlineError):
        await answer(actor.wait.remote(), 0.2, waiter="test", callee="actor", what="nothing")
    waiting = asyncio.create_task(answer(actor.wait.remote(), 60, waiter="test", callee="actor", what="nothing"))
    await asyncio.sleep(0.5)
    waiting.cancel()
    async with asyncio.timeout(20):
        while await actor.num_cancelled.remote() < 2:
            await asyncio.sleep(0.1)


async def test_an_error_of_an_actor_is_told_with_who_and_what() -> None:
    with pytest.raises(TypeError) as caught:
        await answer(Actor.remote().fail.remote(), 60, waiter="test", callee="rollout-1", what="update")
    assert in_one_line(caught.value) == "rollout-1, update: TypeError: no encoder"


async def test_an_actor_without_room_is_told_with_what_lacks() -> None:
    said: list[str] = []
    actor = Actor.options(num_gpus=3).remote()
    with pytest.raises(NoRoomError, match="found no room within 1 s: it asks Ray for 3 GPU; of 2 GPU in the cluster"):
        await await_room(actor.cards.remote(), {"GPU": 3}, 1.0, who="learner-0", report=said.append, first_look_s=0.5)
    assert said[0].startswith("learner-0 waits for room in the cluster: it asks Ray for 3 GPU")
