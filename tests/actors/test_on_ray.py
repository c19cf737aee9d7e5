"""What only Ray itself can show: who lives on which card, and that a call which is given up ends there too."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray

from actors.cluster.calls import DeadlineError, answer
from actors.cluster.cards import NO_CARDS
from actors.cluster.placement import NoRoomError, await_room
from actors.cluster.rooms import Seat
from actors.phases.client import CoordinatorClient
from actors.phases.session import Session
from actors.workers.places import Place, Places
from launch.settings.config import load_config
from rollout.errors import in_one_line

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


@pytest.fixture(scope="module", autouse=True)
def machine_with_four_cards() -> Iterator[None]:
    ray.init("local", num_cpus=8, num_gpus=4, include_dashboard=False, log_to_driver=False)
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


async def find_seat(place: Place, timeout_s: float = 60.0) -> Seat:
    return await place.seat(timeout_s, who="an actor", report=print)


async def seen_from(seat: Seat) -> str | None:
    """CUDA_VISIBLE_DEVICES of an actor that takes the seat."""
    actor = Actor.options(**seat.options()).remote()
    try:
        return await actor.cards.remote()
    finally:
        ray.kill(actor)


async def test_an_actor_that_asks_for_no_cards_sees_none() -> None:
    actor = Actor.options(runtime_env=NO_CARDS.runtime_env()).remote()
    assert await actor.cards.remote() == ""
    ray.kill(actor)


async def test_on_shared_cards_a_rank_and_an_engines_rank_live_together_and_whoever_is_lost_comes_back_there() -> None:
    shared = ["cluster.layout=shared", "rollout.engine.transfer=ipc", "learner.num_ranks=4", "rollout.num_workers=2"]
    places = Places(load_config("demo", [*shared, "rollout.engine.tensor_parallel_size=2"]))
    ranks = await asyncio.gather(*(find_seat(places.of_rank(rank)) for rank in range(4)))
    engines = await asyncio.gather(*(find_seat(places.of_engine(number)) for number in range(2)))
    of_rank = [await seen_from(seat) for seat in ranks]
    of_engine = [await seen_from(seat) for seat in engines]
    assert sorted(str(card) for card in of_rank) == ["0", "1", "2", "3"]
    assert of_engine == [f"{of_rank[0]},{of_rank[1]}", f"{of_rank[2]},{of_rank[3]}"]
    again = await find_seat(places.of_engine(1))
    assert (again.cards, await seen_from(again)) == (engines[1].cards, of_engine[1])
    with pytest.raises(NoRoomError, match="every card has one engine, and there are cards for 2"):
        places.of_engine(2)
    assert ray.available_resources().get("GPU", 0) == 0
    places.of_engine(1).leave()  # an engine that ends gives no room away
    assert ray.available_resources().get("GPU", 0) == 0
    places.of_rank(0).rooms.release()


@dataclass(frozen=True)
class TellCards:
    """A phase that asks for seats, as the coordinator does for its actors; and what it sees itself."""

    async def run(self, session: Session) -> list[str | None]:
        places = Places(session.config)
        seats = [await find_seat(places.of_rank(0)), await find_seat(places.of_engine(0))]
        seen = [await seen_from(seat) for seat in seats]
        places.of_rank(0).rooms.release()
        return [os.environ.get("CUDA_VISIBLE_DEVICES"), *seen]


@pytest.mark.parametrize("mask", ["true", "false"])
async def test_the_coordinator_sees_no_card_and_hides_none_from_the_actors_that_it_starts(
    mask: str, tmp_path: Path
) -> None:
    config = load_config("demo_gpu", [f"cluster.mask_devices={mask}"])
    client = CoordinatorClient.start(config, tmp_path, {}, namespace="cards", answer_s=60)
    phase = client.begin(TellCards())
    of_coordinator, *of_actors = await asyncio.to_thread(phase.result)
    ray.kill(client.actor)
    assert of_coordinator == ""
    if mask == "true":
        assert len(set(of_actors)) == 1
        assert of_actors[0] in ("0", "1", "2", "3")
    else:
        assert of_actors == [os.environ.get("CUDA_VISIBLE_DEVICES")] * 2


async def test_unmasked_actors_see_all_cards_and_know_their_own() -> None:
    unmasked = ["cluster.mask_devices=false", "cluster.learner_rank_gpus=1", "learner.num_ranks=2"]
    engines = ["rollout.gpus_per_worker=1", "rollout.engine.transfer=nccl"]
    places = Places(load_config("demo", [*unmasked, *engines]))
    engine = places.of_engine(0)
    seats = [await find_seat(place) for place in (places.of_rank(0), places.of_rank(1), engine)]
    assert len({seat.cards.own for seat in seats}) == 3
    # As the machine has it: all.
    assert {await seen_from(seat) for seat in seats} == {os.environ.get("CUDA_VISIBLE_DEVICES")}
    engine.leave()
    places.of_rank(0).rooms.release()


async def test_ranks_are_placed_together_or_not_at_all_and_an_engine_gives_its_room_back() -> None:
    split = ["cluster.learner_rank_gpus=1", "rollout.gpus_per_worker=1", "rollout.engine.transfer=nccl"]
    places = Places(load_config("demo", [*split, "learner.num_ranks=4"]))
    engine = places.of_engine(0)
    await find_seat(engine)
    with pytest.raises(NoRoomError, match="with all 4 rooms that are reserved together found no room within 1 s"):
        await find_seat(places.of_rank(0), 1.0)
    # The three cards that are free are nobody's meanwhile.
    assert ray.available_resources()["GPU"] == 3
    engine.leave()
    seats = await asyncio.gather(*(find_seat(places.of_rank(rank)) for rank in range(4)))
    assert {seat.cards.visible for seat in seats} == {"0", "1", "2", "3"}
    places.of_rank(0).rooms.release()


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
    actor = Actor.options(num_gpus=5).remote()
    with pytest.raises(NoRoomError, match="found no room within 1 s: it asks Ray for 5 GPU; of 4 GPU in the cluster"):
        await await_room(actor.cards.remote(), {"GPU": 5}, 1.0, who="learner-0", report=said.append, first_look_s=0.5)
    assert said[0].startswith("learner-0 waits for room in the cluster: it asks Ray for 5 GPU")
