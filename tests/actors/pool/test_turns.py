"""Learner and engines on the same cards, over hand-written workers: who has them when, and what a failure costs."""

import asyncio
from collections.abc import Callable

import pytest

from actors.pool.publisher import PushError, WeightPublisher
from actors.pool.rollout_pool import RolloutPool
from actors.pool.turns import AllAtOnce, TakingTurns
from actors.pool.waits import Waits
from rollout.errors import TransferError
from tests.actors.fake_workers import FakeSender, Spawner, make_pool, make_requests
from tests.actors.pool.test_rollout_pool import states, until

pytestmark = pytest.mark.anyio


class Rig:
    """A pool, a publisher and the turns between them."""

    def __init__(self, pool: RolloutPool, spawner: Spawner) -> None:
        self.pool, self.spawner = pool, spawner
        self.sender, self.waits = FakeSender(), Waits()
        self.publisher = WeightPublisher(self.sender, pool.roster, max_attempts=3)
        self.turns = TakingTurns(pool.roster, self.waits)

    async def publish(self, version: int) -> dict[str, float]:
        async with self.publisher.exclusive:
            return dict(await self.publisher.publish(version))

    def calls(self, name: str = "rollout-0") -> list[str]:
        return self.spawner.latest(name).calls

    async def stays(self, condition: Callable[[], bool]) -> None:
        """It does not change within some probes' time."""
        for _ in range(10):
            assert condition()
            await asyncio.sleep(0.005)


async def make_rig(size: int = 2) -> Rig:
    pool, spawner = make_pool()
    await pool.start(size)
    return Rig(pool, spawner)


async def test_engines_sleep_for_the_learner_and_a_push_wakes_them_in_the_order_of_what_they_need() -> None:
    rig = await make_rig()
    await rig.publish(0)
    for name in ("rollout-0", "rollout-1"):
        rig.calls(name).clear()
    slept = await rig.turns.begin_learning()
    assert slept["memory/engine_gave_gib"] == 30
    assert slept["time/sleep_s"] >= 0
    assert rig.pool.roster.is_learners_turn
    assert set(states(rig.pool).values()) == {"stale"}
    assert [member.version for member in rig.pool.roster.members] == [None, None]
    assert {member.label for member in rig.pool.status()} == {"asleep"}
    metrics = await rig.publish(1)
    assert (metrics["memory/learner_gave_gib"], rig.sender.num_put_away) == (20, 1)
    assert metrics.keys() >= {"time/put_away_s", "time/wake_s"}
    for name in ("rollout-0", "rollout-1"):
        assert rig.calls(name) == [
            *("sleep", "packed", "pause", "wake_weights", "sent", "weight_version", "received_checksums", "resume"),
        ]
    assert set(states(rig.pool).values()) == {"serving"}
    assert {member.label for member in rig.pool.status()} == {"serving"}
    assert rig.sender.connects == [["rollout-0", "rollout-1"]]
    # A push between two turns wakes nobody.
    assert "time/wake_s" not in await rig.publish(2)
    await rig.pool.shutdown()


async def test_the_learner_waits_for_answers_that_engines_still_give_and_says_for_whom() -> None:
    rig = await make_rig(1)
    await rig.publish(0)
    worker = rig.spawner.latest("rollout-0")
    worker.answers.clear()
    answering = asyncio.create_task(rig.pool.generate(make_requests(2)))
    await until(lambda: worker.num_asked == 2)
    turn = asyncio.create_task(rig.turns.begin_learning())
    await rig.stays(lambda: not turn.done() and not worker.is_asleep)
    assert "rollout-0: to finish, and to fall asleep" in str(rig.waits.current()[0])
    worker.answers.set()
    await turn
    assert len(await answering) == 2
    assert worker.is_asleep
    await rig.pool.shutdown()


async def test_what_is_asked_while_engines_sleep_is_answered_after_the_push() -> None:
    rig = await make_rig(1)
    await rig.publish(0)
    await rig.turns.begin_learning()
    answering = asyncio.create_task(rig.pool.generate(make_requests(1)))
    await rig.stays(lambda: not answering.done())
    await rig.publish(1)
    assert len(await answering) == 1
    await rig.pool.shutdown()


async def test_an_engine_that_does_not_fall_asleep_is_replaced_and_loads_only_after_the_learners_turn() -> None:
    rig = await make_rig()
    await rig.publish(0)
    rig.spawner.latest("rollout-1").fails_at = {"sleep"}
    await rig.turns.begin_learning()
    # Its memory is free before the learner begins.
    assert rig.spawner.made["rollout-1"][0].is_dead
    await until(lambda: len(rig.spawner.made["rollout-1"]) == 2)
    await rig.stays(lambda: states(rig.pool) == {"rollout-0": "stale", "rollout-1": "starting"})
    reason = next(member.reason for member in rig.pool.status() if member.name == "rollout-1")
    assert reason == "waits for the learner to leave the cards"
    syncing = asyncio.create_task(rig.publisher.keep_in_sync())
    assert (await rig.publish(1))["push_engines"] == 1
    await until(lambda: set(states(rig.pool).values()) == {"serving"})
    syncing.cancel()
    await rig.pool.shutdown()


async def test_an_engine_that_does_not_wake_is_replaced_with_the_reason_and_the_push_repeated() -> None:
    for step in ("wake_weights", "resume"):
        rig = await make_rig()
        await rig.publish(0)
        await rig.turns.begin_learning()
        rig.spawner.latest("rollout-1").fails_at = {step}
        metrics = await rig.publish(1)
        assert (metrics["push_attempts"], metrics["push_engines"]) == (2, 1)
        assert rig.spawner.made["rollout-1"][0].is_dead
        assert rig.calls().count("wake_weights") == 1
        await until(lambda rig=rig: len(rig.spawner.made["rollout-1"]) == 2)  # type: ignore[misc]
        await rig.pool.shutdown()


async def test_if_no_engine_wakes_the_run_ends_with_each_cause() -> None:
    rig = await make_rig(1)
    await rig.turns.begin_learning()
    rig.sender.failures = {number: TransferError("no handle") for number in (1, 2, 3)}
    with pytest.raises(PushError, match=r"3 attempts.*no handle"):
        await rig.publish(1)
    await rig.pool.shutdown()


async def test_workers_that_come_go_and_die_while_engines_sleep_do_not_take_the_cards() -> None:
    rig = await make_rig()
    await rig.publish(0)
    await rig.turns.begin_learning()
    rig.pool.scale(3)
    rig.spawner.latest("rollout-0").is_dead = True
    await until(lambda: len(rig.spawner.made["rollout-0"]) == 2)
    await rig.stays(lambda: not any(member.is_on_cards for member in rig.pool.roster.members))
    assert states(rig.pool) == {"rollout-0": "starting", "rollout-1": "stale", "rollout-2": "starting"}
    rig.pool.scale(1)
    await until(lambda: len(states(rig.pool)) == 1)
    await rig.publish(1)
    syncing = asyncio.create_task(rig.publisher.keep_in_sync())
    await until(lambda: set(states(rig.pool).values()) == {"serving"})
    syncing.cancel()
    await rig.pool.shutdown()


async def test_the_pool_ends_while_engines_sleep() -> None:
    rig = await make_rig()
    await rig.turns.begin_learning()
    await rig.pool.shutdown()
    assert all(worker.is_dead for made in rig.spawner.made.values() for worker in made)


async def test_a_second_turn_of_the_learner_without_a_push_between_waits_for_nobody() -> None:
    rig = await make_rig()
    await rig.turns.begin_learning()
    assert "memory/engine_gave_gib" not in await rig.turns.begin_learning()  # a new learner, after one was lost
    await rig.pool.shutdown()


async def test_the_learner_waits_for_an_engine_that_loads_and_has_it_sleep_too() -> None:
    pool, spawner = make_pool()
    spawner.slow = {"rollout-1"}
    pool.scale(2)
    await until(lambda: states(pool) == {"rollout-0": "stale", "rollout-1": "starting"})
    rig = Rig(pool, spawner)
    turn = asyncio.create_task(rig.turns.begin_learning())
    await until(lambda: spawner.latest("rollout-0").is_asleep)
    await rig.stays(lambda: not turn.done())
    spawner.latest("rollout-1").may_load.set()
    await turn
    assert spawner.latest("rollout-1").is_asleep
    await pool.shutdown()


async def test_with_memory_of_their_own_nobody_sleeps() -> None:
    assert await AllAtOnce().begin_learning() == {}
