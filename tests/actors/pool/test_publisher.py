"""A weight push over hand-written workers and learner: who is sent what, when, and what a failure costs."""

import asyncio

import pytest

from actors.pool.publisher import PushError, WeightPublisher
from actors.pool.rollout_pool import RolloutPool
from rollout.canary import Canary
from rollout.errors import TransferError, WorkersFailedError
from spatial.sample import ReasoningPath
from tests.actors.fake_workers import FakeSender, Spawner, make_pool
from tests.actors.fakes import make_sample
from tests.actors.pool.test_rollout_pool import states, until

pytestmark = pytest.mark.anyio


def make_canary(every: int = 1) -> Canary:
    return Canary(make_sample("canary"), ReasoningPath.LOR, "tweet", every=every, max_difference=0.1)


async def make_publisher(
    size: int, canary: Canary | None = None
) -> tuple[WeightPublisher, FakeSender, RolloutPool, Spawner]:
    pool, spawner = make_pool()
    await pool.start(size)
    sender = FakeSender()
    return WeightPublisher(sender, pool.roster, max_attempts=3, canary=canary), sender, pool, spawner


async def publish(publisher: WeightPublisher, version: int) -> dict[str, float]:
    async with publisher.exclusive:
        return dict(await publisher.publish(version))


async def test_engines_serve_once_they_acknowledge_the_version() -> None:
    publisher, _sender, pool, spawner = await make_publisher(2)
    assert (await publish(publisher, 5))["push_engines"] == 2
    assert set(states(pool).values()) == {"serving"}
    assert [member.version for member in pool.roster.loaded] == [5, 5]
    # Packing comes before the pause: rollouts do not wait for it.
    calls = ["packed", "pause", "sent", "weight_version", "received_checksums", "resume"]
    assert spawner.latest("rollout-0").calls == calls
    await pool.shutdown()


async def test_the_time_of_packing_is_reported_beside_that_of_the_pause() -> None:
    publisher, _sender, pool, _spawner = await make_publisher(1)
    metrics = await publish(publisher, 0)
    assert {"time/pack_s", "time/rollout_pause_s"} <= metrics.keys()
    assert "canary_difference" not in metrics
    await pool.shutdown()


async def test_the_canary_comes_after_the_pause_and_before_an_engine_serves() -> None:
    publisher, sender, pool, spawner = await make_publisher(2, make_canary())
    sender.misleads[1] = ("rollout-1", 0.05)  # tolerated
    metrics = await publish(publisher, 3)
    assert metrics["push_attempts"] == 1
    assert metrics["canary_difference"] == pytest.approx(0.05)
    assert spawner.latest("rollout-0").calls[-2:] == ["resume", "canary_logprobs"]
    assert set(states(pool).values()) == {"serving"}
    await pool.shutdown()


async def test_an_engine_that_finds_the_canary_less_likely_is_paused_and_pushed_again() -> None:
    publisher, sender, pool, spawner = await make_publisher(2, make_canary())
    await publish(publisher, 0)
    sender.misleads[2] = ("rollout-1", 0.3)
    served = [len(spawner.latest(name).calls) for name in ("rollout-0", "rollout-1")]
    assert (await publish(publisher, 1))["push_attempts"] == 2
    calls = [spawner.latest(f"rollout-{index}").calls[served[index] :] for index in (0, 1)]
    # What it has under way waits from the disagreement on, until it was sent the weights once more.
    assert calls[1][calls[1].index("canary_logprobs") + 1] == "pause"
    assert calls[0].count("pause") + 1 == calls[1].count("pause") == 3
    assert calls[1].count("resume") == 2
    assert sender.pushes == [0, 1, 1]
    assert set(states(pool).values()) == {"serving"}
    await pool.shutdown()


async def test_an_engine_that_stays_off_ends_the_run_with_its_name_and_the_measured_difference() -> None:
    publisher, sender, pool, _spawner = await make_publisher(1, make_canary())
    sender.misleads = dict.fromkeys((1, 2, 3), ("rollout-0", 0.25))
    with pytest.raises(PushError, match=r"3 attempts.*rollout-0: .*differ .* by 0\.25 nats a token; 0\.1 are allowed"):
        await publish(publisher, 0)
    assert states(pool)["rollout-0"] != "serving"
    await pool.shutdown()


async def test_a_log_probability_that_is_no_number_is_no_agreement() -> None:
    publisher, sender, pool, _spawner = await make_publisher(1, make_canary())
    sender.misleads = dict.fromkeys((1, 2, 3), ("rollout-0", float("nan")))
    with pytest.raises(PushError, match="by inf nats"):
        await publish(publisher, 0)
    await pool.shutdown()


async def test_the_learner_computes_the_canary_once_a_version_and_as_often_as_it_is_asked_for() -> None:
    publisher, sender, pool, spawner = await make_publisher(1, make_canary(every=2))
    for version in (1, 2, 3, 4):
        await publish(publisher, version)
    # The first push to a set of engines has one, whatever its version.
    assert sender.canaries == [1, 2, 4]
    syncing = asyncio.create_task(publisher.keep_in_sync())
    pool.scale(2)
    await until(lambda: states(pool).get("rollout-1") == "serving")
    assert "canary_logprobs" in spawner.latest("rollout-1").calls
    assert sender.canaries == [1, 2, 4]
    syncing.cancel()
    await pool.shutdown()


async def test_a_new_transfer_group_is_formed_only_when_its_members_change() -> None:
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


async def test_a_push_is_repeated_without_the_worker_that_died_in_it() -> None:
    publisher, sender, pool, spawner = await make_publisher(2)
    await publish(publisher, 0)
    sender.failures[2] = WorkersFailedError("receive_weights", {"rollout-1": "connection lost"})
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
