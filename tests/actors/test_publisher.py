"""A weight push over hand-written workers and learner: who is sent what, when, and what a failure costs."""

import asyncio

import pytest

from actors.publisher import PushError, WeightPublisher
from actors.rollout_pool import RolloutPool
from rollout.errors import TransferError, WorkersFailedError
from tests.actors.fake_workers import FakeSender, Spawner, make_pool
from tests.actors.test_rollout_pool import states, until

pytestmark = pytest.mark.anyio


async def make_publisher(size: int) -> tuple[WeightPublisher, FakeSender, RolloutPool, Spawner]:
    pool, spawner = make_pool()
    await pool.start(size)
    sender = FakeSender()
    return WeightPublisher(sender, pool, max_attempts=3), sender, pool, spawner


async def publish(publisher: WeightPublisher, version: int) -> dict[str, float]:
    async with publisher.exclusive:
        return dict(await publisher.publish(version))


async def test_engines_serve_once_they_acknowledge_the_version() -> None:
    publisher, _sender, pool, spawner = await make_publisher(2)
    assert (await publish(publisher, 5))["push_engines"] == 2
    assert set(states(pool).values()) == {"serving"}
    assert [member.version for member in pool.loaded] == [5, 5]
    calls = ["pause", "weight_version", "received_checksums", "resume"]
    assert spawner.latest("rollout-0").calls == calls
    await pool.shutdown()


async def test_the_transfer_group_is_formed_anew_only_when_its_members_changed() -> None:
    publisher, sender, pool, spawner = await make_publisher(2)
    for version in (0, 1, 2):
        await publish(publisher, version)
    assert sender.connects == [["rollout-0", "rollout-1"]]
    pool.scale(1)
    await until(lambda: len(states(pool)) == 1)
    await publish(publisher, 3)
    assert sender.connects[1:] == [["rollout-0"]]
    # The same name is not the same worker.
    spawner.latest("rollout-0").is_dead = True
    await until(lambda: len(spawner.made["rollout-0"]) == 2 and states(pool)["rollout-0"] == "stale")
    assert (await publish(publisher, 4))["push_attempts"] == 1
    assert sender.connects[2:] == [["rollout-0"]]
    await pool.shutdown()


async def test_a_worker_that_dies_in_mid_push_is_left_out_and_the_push_repeated() -> None:
    publisher, sender, pool, spawner = await make_publisher(2)
    await publish(publisher, 0)
    sender.failures[2] = WorkersFailedError("update_weights", {"rollout-1": "connection lost"})
    metrics = await publish(publisher, 1)
    assert metrics["push_attempts"] == 2
    assert spawner.latest("rollout-0").version == 1
    assert states(pool)["rollout-0"] == "serving"
    await until(lambda: len(spawner.made["rollout-1"]) == 2)
    await pool.shutdown()


async def test_when_an_error_names_nobody_all_are_probed_and_those_that_are_well_are_kept() -> None:
    publisher, sender, pool, spawner = await make_publisher(2)
    sender.failures[1] = TransferError("gloo broadcast failed")
    await publish(publisher, 0)
    assert [len(spawner.made[name]) for name in ("rollout-0", "rollout-1")] == [1, 1]
    assert set(states(pool).values()) == {"serving"}
    await pool.shutdown()


async def test_an_engine_with_other_bytes_does_not_serve_before_it_was_sent_them_again() -> None:
    publisher, sender, pool, spawner = await make_publisher(2)
    sender.corrupts[1] = "rollout-1"
    assert (await publish(publisher, 0))["push_attempts"] == 2
    assert "resume" not in spawner.latest("rollout-1").calls[: spawner.latest("rollout-1").calls.index("pause", 1)]
    assert set(states(pool).values()) == {"serving"}
    await pool.shutdown()


async def test_bytes_that_stay_wrong_end_the_run_with_the_names_of_the_tensors() -> None:
    publisher, sender, pool, _spawner = await make_publisher(1)
    sender.corrupts = dict.fromkeys((1, 2, 3), "rollout-0")
    with pytest.raises(PushError, match=r"3 attempts.*rollout-0: received 1 tensors wrongly, among them w"):
        await publish(publisher, 0)
    await pool.shutdown()


async def test_a_worker_that_joins_is_synced_at_once_and_the_others_go_on() -> None:
    publisher, sender, pool, spawner = await make_publisher(1)
    await publish(publisher, 4)
    syncing = asyncio.create_task(publisher.keep_in_sync())
    calls_before = list(spawner.latest("rollout-0").calls)
    pool.scale(2)
    await until(lambda: states(pool).get("rollout-1") == "serving")
    assert spawner.latest("rollout-1").version == 4
    assert sender.connects[-1] == ["rollout-1"]
    assert spawner.latest("rollout-0").calls == calls_before
    await publish(publisher, 5)
    assert sender.connects[-1] == ["rollout-0", "rollout-1"]
    syncing.cancel()
    await pool.shutdown()


async def test_nobody_is_synced_while_the_learner_holds_weights_that_are_not_published() -> None:
    publisher, sender, pool, spawner = await make_publisher(1)
    await publish(publisher, 0)
    syncing = asyncio.create_task(publisher.keep_in_sync())
    async with publisher.exclusive:  # an update is under way
        pool.scale(2)
        await until(lambda: states(pool).get("rollout-1") == "stale")
        await asyncio.sleep(0.02)
        assert sender.pushes == [0]
        await publisher.publish(1)
    await until(lambda: set(states(pool).values()) == {"serving"})
    assert {worker.version for workers in spawner.made.values() for worker in workers} == {1}
    syncing.cancel()
    await pool.shutdown()


async def test_with_no_engine_a_version_is_published_all_the_same_and_who_comes_later_gets_it() -> None:
    publisher, _sender, pool, spawner = await make_publisher(0)
    assert (await publish(publisher, 9))["push_bytes"] == 0
    syncing = asyncio.create_task(publisher.keep_in_sync())
    pool.scale(1)
    await until(lambda: states(pool).get("rollout-0") == "serving")
    assert spawner.latest("rollout-0").version == 9
    syncing.cancel()
    await pool.shutdown()


async def test_a_worker_that_shall_leave_in_mid_push_leaves_after_it() -> None:
    publisher, sender, pool, spawner = await make_publisher(2)
    sender.may_end.clear()
    pushing = asyncio.create_task(publish(publisher, 0))
    await until(lambda: sender.pushes == [0])
    pool.scale(1)
    await asyncio.sleep(0.02)
    assert sorted(states(pool).values()) == ["retiring", "stale"]
    assert not spawner.latest("rollout-1").is_stopped
    sender.may_end.set()
    assert (await pushing)["push_attempts"] == 1
    await until(lambda: states(pool) == {"rollout-0": "serving"})
    await pool.shutdown()
