"""The rollout pool over hand-written workers: sizes, states, and whose request goes where."""

import asyncio
from collections.abc import Callable

import pytest

from actors.pool.member import Member, State
from actors.pool.rollout_pool import PoolStartError, RolloutPool
from flow.score import Failure
from flow.trajectory import Trajectory
from tests.actors.fake_workers import HEALTH, Spawner, make_pool, make_requests

pytestmark = pytest.mark.anyio


async def serving_pool(size: int) -> tuple[RolloutPool, Spawner]:
    pool, spawner = make_pool()
    await pool.start(size)
    pool.roster.serve(pool.roster.loaded, 0)
    return pool, spawner


async def asked_before_scaling_to_0(pool: RolloutPool, spawner: Spawner) -> asyncio.Task[list[Trajectory | Failure]]:
    """Two requests that the only worker has not answered yet when it is retired."""
    spawner.latest("rollout-0").answers.clear()
    asked = asyncio.create_task(pool.generate(make_requests(2)))
    await asyncio.sleep(0.005)
    pool.scale(0)
    return asked


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0.001)


def states(pool: RolloutPool) -> dict[str, str]:
    return {member.name: member.state for member in pool.status()}


async def test_a_loaded_worker_does_not_serve_before_it_was_synced() -> None:
    pool, spawner = make_pool()
    await pool.start(1)
    assert states(pool) == {"rollout-0": "stale"}
    asked = asyncio.create_task(pool.generate(make_requests(2)))
    await asyncio.sleep(0.02)
    assert spawner.latest("rollout-0").num_asked == 0
    pool.roster.serve(pool.roster.loaded, 3)
    assert len(await asked) == 2
    await pool.shutdown()


async def test_a_group_goes_to_one_worker_and_groups_to_the_least_loaded() -> None:
    pool, spawner = await serving_pool(2)
    for worker in (spawner.latest("rollout-0"), spawner.latest("rollout-1")):
        worker.answers.clear()
    asked = [asyncio.create_task(pool.generate(make_requests(size, group))) for group, size in enumerate((5, 2, 2))]
    await asyncio.sleep(0.01)
    # 5 to the first; 2 to the second, and, having 2 against 5, 2 more.
    assert [spawner.latest(name).num_asked for name in ("rollout-0", "rollout-1")] == [5, 4]
    for worker in (spawner.latest("rollout-0"), spawner.latest("rollout-1")):
        worker.answers.set()
    assert all(isinstance(r, Trajectory) for group in await asyncio.gather(*asked) for r in group)
    assert [member.load for member in pool.status()] == [0, 0]
    await pool.shutdown()


async def test_requests_of_a_worker_that_died_are_answered_by_another_and_it_is_replaced() -> None:
    pool, spawner = await serving_pool(2)
    first = spawner.latest("rollout-0")
    first.answers.clear()
    asked = asyncio.create_task(pool.generate(make_requests(3)))
    await asyncio.sleep(0.005)
    first.is_dead = True
    assert all(isinstance(response, Trajectory) for response in await asked)
    await until(lambda: states(pool)["rollout-0"] == "stale")
    assert len(spawner.made["rollout-0"]) == 2
    await pool.shutdown()


async def test_a_worker_that_answers_calls_but_does_not_generate_is_suspect_and_then_dead() -> None:
    pool, spawner = await serving_pool(1)
    seen: list[str] = []
    spawner.latest("rollout-0").is_hung = True

    def note() -> bool:
        seen.append(states(pool)["rollout-0"])
        return len(spawner.made["rollout-0"]) == 2

    await until(note)
    assert [state for index, state in enumerate(seen) if state != seen[index - 1] or not index][:3] == [
        "serving",
        "suspect",
        "dead",
    ]
    await pool.shutdown()


async def test_a_suspect_that_answers_again_serves_again_or_is_synced_if_its_weights_are_in_doubt() -> None:
    pool, spawner = await serving_pool(1)
    (member,) = pool.roster.loaded
    pool.roster.distrust(member.identity, "too slow")
    assert member.state is State.SUSPECT
    await until(lambda: member.state is State.SERVING)
    assert "too slow" in member.reason
    pool.roster.distrust(member.identity, "lost in a push", holds_weights=False)
    await until(lambda: member.state is State.STALE)
    assert len(spawner.made["rollout-0"]) == 1
    await pool.shutdown()


async def test_an_engine_that_fails_at_once_does_not_swallow_prompts() -> None:
    pool, spawner = await serving_pool(2)
    spawner.latest("rollout-0").has_no_engine = True
    responses = [await pool.generate(make_requests(2, group)) for group in range(4)]
    assert all(isinstance(response, Trajectory) for group in responses for response in group)
    # Asked once; the others went to the one that is well.
    assert spawner.made["rollout-0"][0].num_asked == 2
    await pool.shutdown()


async def test_a_prompt_that_fails_everywhere_leaves_the_workers_in_service() -> None:
    pool, spawner = await serving_pool(1)
    worker = spawner.latest("rollout-0")
    worker.refuses = True
    (response,) = await pool.generate(make_requests(1))
    assert isinstance(response, Failure)
    assert (response.attempts, worker.num_asked) == (3, 3)
    await until(lambda: states(pool) == {"rollout-0": "serving"})
    assert len(spawner.made["rollout-0"]) == 1
    await pool.shutdown()


async def test_one_that_fails_again_and_again_is_quarantined_with_its_reasons_until_scaled() -> None:
    said: list[str] = []
    spawner = Spawner()
    pool = RolloutPool(spawner, HEALTH, 8, 3, report=said.append)
    await pool.start(1)
    spawner.broken.add("rollout-0")
    spawner.latest("rollout-0").is_dead = True
    await until(lambda: pool.status()[0].is_quarantined)
    assert said[0] == "rollout-0 is lost: rollout-0 died during: probe"
    assert said[-1].startswith("rollout-0 is in quarantine after 3 losses: rollout-0 died during: probe; rollout-0: no")
    # Its death, and two restarts that failed.
    assert len(spawner.made["rollout-0"]) == 3
    assert "no such package" in pool.status()[0].reason
    await asyncio.sleep(0.05)
    assert len(spawner.made["rollout-0"]) == 3
    spawner.broken.clear()
    pool.scale(1)
    await until(lambda: states(pool)["rollout-0"] == "stale")
    await pool.shutdown()


async def test_a_pool_grows_shrinks_goes_to_nothing_and_comes_back() -> None:
    pool, spawner = await serving_pool(1)
    for size in (3, 1, 0, 2):
        pool.scale(size)
        await until(lambda size=size: len(states(pool)) == size and "starting" not in states(pool).values())
        assert pool.size == size
    assert sorted(states(pool)) == ["rollout-0", "rollout-1"]
    ended = [worker for workers in spawner.made.values() for worker in workers if worker.is_dead]
    assert len(ended) == 3
    assert all(worker.is_stopped for worker in ended)
    await pool.shutdown()


async def test_a_worker_that_leaves_finishes_what_it_was_asked_for() -> None:
    pool, spawner = await serving_pool(1)
    worker = spawner.latest("rollout-0")
    asked = await asked_before_scaling_to_0(pool, spawner)
    await asyncio.sleep(0.02)
    assert states(pool) == {"rollout-0": "retiring"}
    worker.answers.set()
    assert len(await asked) == 2
    await until(lambda: not states(pool))
    assert (worker.is_stopped, pool.num_responses_reissued) == (True, 0)


async def test_what_a_leaving_worker_does_not_finish_in_time_is_asked_of_another_and_costs_no_attempt() -> None:
    pool, spawner = make_pool(max_attempts=1)
    await pool.start(1)
    pool.roster.serve(pool.roster.loaded, 0)
    asked = await asked_before_scaling_to_0(pool, spawner)
    await until(lambda: not states(pool))
    assert not asked.done()
    pool.scale(1)
    await until(lambda: bool(pool.roster.loaded))
    pool.roster.serve(pool.roster.loaded, 0)
    assert all(isinstance(response, Trajectory) for response in await asked)
    assert pool.num_responses_reissued == 2
    await pool.shutdown()


async def test_a_late_end_of_one_that_left_changes_nothing_for_the_next_of_its_name() -> None:
    pool, _ = await serving_pool(1)
    (old,) = pool.roster.loaded
    pool.scale(0)
    await until(lambda: not states(pool))
    pool.scale(1)
    await until(lambda: bool(pool.roster.loaded))
    pool.roster.serve(pool.roster.loaded, 1)
    (new,) = pool.roster.loaded
    assert (new.name, new.identity) == (old.name, old.identity)
    assert isinstance((await pool.generate(make_requests(1)))[0], Trajectory)
    assert new.load == 0
    await pool.shutdown()


async def test_a_worker_that_leaves_is_gone_as_soon_as_it_has_answered() -> None:
    spawner = Spawner()
    pool = RolloutPool(spawner, HEALTH.replace(drain_s=1000), 8, 3)
    await pool.start(1)
    pool.roster.serve(pool.roster.loaded, 0)
    asked = await asked_before_scaling_to_0(pool, spawner)
    spawner.latest("rollout-0").answers.set()
    assert len(await asked) == 2
    await until(lambda: not states(pool))


async def test_a_request_that_always_fails_is_a_failure_with_its_reason_and_number_of_attempts() -> None:
    pool, spawner = await serving_pool(4)
    for name in list(spawner.made):
        spawner.latest(name).fails_at.add("generate")
    (response,) = await pool.generate(make_requests(1))
    assert isinstance(response, Failure)
    assert (response.attempts, "generate failed" in response.reason) == (3, True)
    await pool.shutdown()


async def test_a_pool_that_cannot_start_says_why_and_leaves_nobody_behind() -> None:
    pool, spawner = make_pool()
    spawner.broken.add("rollout-1")
    with pytest.raises(PoolStartError, match="rollout-1: no such package"):
        await pool.start(2)
    assert pool.status() == []
    assert spawner.latest("rollout-0").is_dead


def test_a_member_refuses_a_change_that_its_states_do_not_have() -> None:
    member = Member("rollout-0")
    with pytest.raises(ValueError, match="rollout-0 cannot go from starting to serving"):
        member.move(State.SERVING)


async def test_a_pool_begins_with_the_workers_that_are_there_and_says_which_are_missing_and_why() -> None:
    said: list[str] = []
    spawner = Spawner()
    spawner.homeless = {"rollout-1", "rollout-2"}
    pool = RolloutPool(spawner, HEALTH, 8, 3, report=said.append)
    async with asyncio.timeout(2):
        await pool.start(3)
    assert states(pool) == {"rollout-0": "stale", "rollout-1": "starting", "rollout-2": "starting"}
    assert said == [
        "1 of 3 rollout workers begin; others join when they can: rollout-1 starting: waits for room in the cluster; "
        "rollout-2 starting: waits for room in the cluster"
    ]
    spawner.latest("rollout-2").has_room.set()
    await until(lambda: states(pool)["rollout-2"] == "stale")
    await pool.shutdown()


async def test_a_pool_waits_for_those_that_load_but_not_for_one_that_died_while_it_loaded() -> None:
    pool, spawner = make_pool()
    spawner.slow, spawner.dying = {"rollout-1"}, {"rollout-0"}
    starting = asyncio.create_task(pool.start(3))
    await until(lambda: states(pool).get("rollout-0") == "stale")
    await asyncio.sleep(0.02)
    assert not starting.done()
    spawner.latest("rollout-1").may_load.set()
    async with asyncio.timeout(2):
        await starting
    assert states(pool) == {"rollout-0": "stale", "rollout-1": "stale", "rollout-2": "stale"}
    assert len(spawner.made["rollout-0"]) == 2
    await pool.shutdown()


async def test_a_pool_of_which_nobody_comes_up_says_why_at_once() -> None:
    pool, spawner = make_pool()
    spawner.dying = {"rollout-0"}
    with pytest.raises(PoolStartError, match="rollout-0: rollout-0 died during: start"):
        await pool.start(1)
    assert len(spawner.made["rollout-0"]) == 1


async def test_one_that_cannot_start_twice_for_the_same_reason_is_not_tried_a_third_time() -> None:
    said: list[str] = []
    spawner = Spawner()
    pool = RolloutPool(spawner, HEALTH.replace(max_failures=100), 8, 3, report=said.append)
    await pool.start(1)
    spawner.broken.add("rollout-0")
    spawner.latest("rollout-0").is_dead = True
    await until(lambda: pool.status()[0].is_quarantined)
    assert len(spawner.made["rollout-0"]) == 3
    assert said[1:3] == ["rollout-0 cannot start: rollout-0: no such package"] * 2
    await pool.shutdown()


async def test_a_pool_that_is_scaled_to_nothing_while_it_loads_has_started() -> None:
    pool, spawner = make_pool()
    spawner.slow = {"rollout-0"}
    starting = asyncio.create_task(pool.start(1))
    await until(lambda: bool(spawner.made["rollout-0"]))
    pool.scale(0)
    async with asyncio.timeout(2):
        await starting
    assert pool.size == 0
    assert len(spawner.made["rollout-0"]) == 1  # none was made in the place of the one that was let go
    await pool.shutdown()


async def test_the_cards_of_loaded_workers_are_told_of_and_a_worker_that_does_not_tell_is_left_out() -> None:
    pool, spawner = await serving_pool(3)
    assert [track.card for track in await pool.card_tracks()] == ["GPU-0", "GPU-1", "GPU-2"]
    spawner.latest("rollout-1").fails_at.add("card_tracks")
    assert [track.owner for track in await pool.card_tracks()] == ["rollout-0", "rollout-2"]
    await pool.shutdown()
