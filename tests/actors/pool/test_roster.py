"""Who is in the pool, without workers."""

import asyncio

import pytest

from actors.pool.member import Member, State
from actors.pool.roster import Roster


def make_roster(*states: State) -> tuple[Roster, list[tuple[str, State]]]:
    """A roster with a member in each of `states`, and the moves that it tells of from then on."""
    moves: list[tuple[str, State]] = []
    roster = Roster(lambda member: moves.append((member.name, member.state)))
    for state in states:
        roster[roster.add()].state = state
    return roster, moves


def names(members: list[Member]) -> list[str]:
    return [member.name for member in members]


def test_a_new_member_takes_the_lowest_free_place() -> None:
    roster, _ = make_roster(State.SERVING, State.SERVING, State.SERVING)
    roster.remove(1)
    assert (roster.add(), roster.add()) == (1, 3)
    assert sorted(names(roster.members)) == ["rollout-0", "rollout-1", "rollout-2", "rollout-3"]


def test_one_that_is_about_to_leave_is_no_longer_found_by_its_name() -> None:
    roster, _ = make_roster(State.RETIRING, State.SERVING)
    assert roster.place_of("rollout-1") == 1
    with pytest.raises(KeyError, match="rollout-0: the pool has rollout-1"):
        roster.place_of("rollout-0")


def test_only_loaded_members_take_weights_and_only_stale_ones_begin_to_serve() -> None:
    roster, moves = make_roster(State.STARTING, State.STALE, State.SERVING, State.SUSPECT, State.DEAD)
    assert names(roster.loaded) == ["rollout-1", "rollout-2"]
    assert not roster.is_settled
    roster.serve(roster.loaded, version=4)
    assert moves == [("rollout-1", State.SERVING)]
    assert [member.version for member in roster.loaded] == [4, 4]


@pytest.mark.parametrize(
    ("holds_weights", "served_meanwhile", "state"),
    [(True, 4, State.SERVING), (False, 4, State.STALE), (True, 5, State.STALE)],
)
def test_a_suspect_that_is_well_serves_only_if_it_holds_what_is_served(
    holds_weights: bool, served_meanwhile: int, state: State
) -> None:
    roster, _ = make_roster(State.STALE)
    roster.serve(roster.members, version=4)
    (member,) = roster.members
    roster.distrust(member.identity, "late", holds_weights)
    assert member.alarm.is_set()
    roster.serve([], served_meanwhile)
    roster.trust_again(member)
    assert (member.state, member.reason) == (state, "answers again after: late")


def test_a_worker_that_was_replaced_is_not_distrusted() -> None:
    roster, moves = make_roster(State.SERVING)
    (member,) = roster.members
    old = member.identity
    member.forget_worker()
    roster.distrust(old, "late")
    assert moves == []


def test_those_that_wait_are_woken_by_a_move_and_by_the_end_of_a_push() -> None:
    async def scenario() -> None:
        roster, _ = make_roster(State.SERVING)
        (member,) = roster.members
        woken = asyncio.create_task(roster.wait_until(lambda: not roster.is_settled))
        await asyncio.sleep(0)
        roster.move(member, State.SUSPECT, "late")
        await asyncio.wait_for(woken, 1)
        with roster.receiving([member]):
            freed = asyncio.create_task(roster.wait_until(lambda: not member.is_receiving))
            await asyncio.sleep(0)
            assert not freed.done()
        await asyncio.wait_for(freed, 1)

    asyncio.run(scenario())
