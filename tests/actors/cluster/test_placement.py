"""How long an actor waits for room, and what is said meanwhile."""

import asyncio
from functools import partial

import pytest

from actors.cluster.placement import OWN_RAY, NoRoomError, Resources, await_room, what_lacks

ONE_OF_TWO_GPUS = Resources({"GPU": 2.0}, {"GPU": 1.0})


def test_what_lacks_names_what_is_asked_for_and_what_there_is() -> None:
    total, free = {"CPU": 8.0, "GPU": 2.0}, {"CPU": 3.0}
    assert what_lacks({"CPU": 1}, total, free) is None
    assert what_lacks({"CPU": 4, "GPU": 2, "rollout": 1}, total, free) == (
        "it asks Ray for 4 CPU and 2 GPU and 1 rollout; of 8 CPU in the cluster 3 are free and of 2 GPU in the cluster "
        "0 are free and of 0 rollout in the cluster 0 are free"
    )


@pytest.mark.anyio
async def test_room_that_can_never_come_is_refused_at_once() -> None:
    own = Resources({"CPU": 8.0, OWN_RAY: 1.0}, {"CPU": 8.0})
    placed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with pytest.raises(NoRoomError, match=r"rollout-0 finds no room: it asks Ray for 1 GPU; of 0 GPU in the cluster"):
        await await_room(placed, {"GPU": 1}, 1800, who="rollout-0", report=print, resources=lambda: own)


@pytest.mark.anyio
async def test_room_that_does_not_come_is_reported_first_and_refused_after_its_deadline() -> None:
    said: list[str] = []
    with pytest.raises(NoRoomError, match=r"rollout-0 found no room within 0\.05 s: it asks Ray for 2 GPU; of 2 GPU"):
        await await_room(
            asyncio.sleep(60),
            {"GPU": 2},
            0.05,
            who="rollout-0",
            report=said.append,
            first_look_s=0.01,
            resources=lambda: ONE_OF_TWO_GPUS,
        )
    assert said == [
        "rollout-0 waits for room in the cluster: it asks Ray for 2 GPU; of 2 GPU in the cluster 1 are free"
    ]


@pytest.mark.anyio
async def test_room_that_comes_is_taken_and_a_failure_is_the_callees_own() -> None:
    wait = partial(await_room, asked={"GPU": 2}, timeout_s=60, who="a", report=print, resources=lambda: ONE_OF_TWO_GPUS)
    assert await wait(asyncio.sleep(0.01, "here")) == "here"

    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await wait(fail())
