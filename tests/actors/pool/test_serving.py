"""Who is asked next, against looking at everybody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.pool.member import Member, State
from actors.pool.serving import ServingMembers


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.booleans())))
def test_the_least_loaded_is_one_that_looking_at_all_would_find(
    changes: list[tuple[int, int, bool]],
) -> None:
    members, serving = [Member(f"rollout-{number}") for number in range(6)], ServingMembers()
    for number, load, serves in changes:
        members[number].load = load
        members[number].state = State.SERVING if serves else State.SUSPECT
        serving.update(members[number])
        loads = [member.load for member in members if member.state is State.SERVING]
        assert len(serving) == len(loads)
        if loads:
            assert serving.least_loaded().state is State.SERVING
            assert serving.least_loaded().load == min(loads)


def test_equal_ones_take_turns() -> None:
    members, serving, asked = [Member(f"rollout-{number}", State.SERVING) for number in range(3)], ServingMembers(), []
    for member in members:
        serving.update(member)
    for _ in range(5):
        member = serving.least_loaded()
        asked.append(member.name)
        for load in (5, 0):
            member.load = load
            serving.update(member)
    assert asked == ["rollout-0", "rollout-1", "rollout-2", "rollout-0", "rollout-1"]


def test_nobody_serves_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        ServingMembers().least_loaded()
