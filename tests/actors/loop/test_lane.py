"""The books of a lane against a naive model of them: sets, sorted whenever something is asked."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from actors.loop.feed import PromptFeed
from actors.loop.lane import Lane
from flow.group import Group
from spatial.sample import ReasoningPath
from tests.actors.fakes import make_sample

SAMPLE = make_sample("s")


def make_lane(quota: int, max_staleness: int, max_filtered: int) -> Lane:
    return Lane(PromptFeed([SAMPLE], ReasoningPath.LOR, seed=0), quota, max_staleness, max_filtered)


def make_group(index: int) -> Group:
    return Group(index=index, sample=SAMPLE, path=ReasoningPath.LOR, trajectories=(), scores=())


@dataclass
class NaiveLane:
    """What the docstrings of `Lane` say, as plainly as can be."""

    quota: int
    max_staleness: int
    max_filtered: int
    next_index: int = 0
    to_reissue: list[int] = field(default_factory=list)
    outstanding: set[int] = field(default_factory=set)
    ready: set[int] = field(default_factory=set)
    taken: set[int] = field(default_factory=set)
    num_filtered: int = 0

    @property
    def oldest(self) -> list[int]:
        return sorted(self.outstanding - self.taken)[: self.quota]

    @property
    def has_room(self) -> bool:
        return len(self.outstanding) < (self.max_staleness + 1) * self.quota and self.num_filtered < self.max_filtered

    @property
    def batch_is_ready(self) -> bool:
        is_full = len(self.oldest) == self.quota or self.num_filtered >= self.max_filtered
        return is_full and all(index in self.ready for index in self.oldest)

    def issue(self) -> int:
        index = self.to_reissue.pop(0) if self.to_reissue else self.next_index
        self.next_index = max(self.next_index, index + 1)
        self.outstanding.add(index)
        return index

    def reject(self, index: int) -> None:
        self.outstanding.discard(index)
        self.num_filtered += 1

    def take(self) -> list[int]:
        indices = sorted(self.ready)[: self.quota]
        self.ready -= set(indices)
        self.taken |= set(indices)
        self.num_filtered = 0
        return indices

    def settle(self) -> None:
        self.outstanding -= self.taken
        self.taken = set()

    def state(self) -> dict[str, Any]:
        return {
            "next_index": self.next_index,
            "outstanding": sorted((self.outstanding - self.taken) | set(self.to_reissue)),
        }


@given(
    quota=st.integers(1, 3),
    max_staleness=st.integers(0, 3),
    max_filtered=st.integers(1, 9),
    to_reissue=st.sets(st.integers(0, 9)),
    choices=st.lists(
        st.tuples(
            st.sampled_from(["issue", "issue", "accept", "accept", "reject", "take", "settle"]), st.integers(0, 9)
        ),
        min_size=40,
        max_size=80,
    ),
)
def test_a_lane_equals_its_naive_model_after_every_call(
    quota: int, max_staleness: int, max_filtered: int, to_reissue: set[int], choices: list[tuple[str, int]]
) -> None:
    lane, model = make_lane(quota, max_staleness, max_filtered), NaiveLane(quota, max_staleness, max_filtered)
    lane.restore({"next_index": 10, "outstanding": sorted(to_reissue)})
    model.next_index, model.to_reissue = 10, sorted(to_reissue)
    for call, number in choices:
        in_flight = sorted(model.outstanding - model.taken - model.ready)
        if call == "issue" and model.has_room:
            assert lane.issue() == model.issue()
        elif call in ("accept", "reject") and in_flight:
            index = in_flight[number % len(in_flight)]
            if call == "accept":
                lane.accept(make_group(index))
                model.ready.add(index)
            else:
                lane.reject(index)
                model.reject(index)
        elif call == "take" and model.batch_is_ready:
            assert [group.index for group in lane.take()] == model.take()
        elif call == "settle":
            lane.settle()
            model.settle()
        assert lane.has_room == model.has_room
        assert lane.batch_is_ready == model.batch_is_ready
        assert lane.num_ready == sum(index in model.ready for index in model.oldest)
        assert lane.state() == model.state()


def test_prompts_that_a_smaller_step_has_not_issued_again_yet_stay_in_the_next_checkpoint() -> None:
    lane = make_lane(quota=1, max_staleness=0, max_filtered=9)
    lane.restore({"next_index": 7, "outstanding": [3, 5, 6]})
    lane.issue()
    assert lane.state() == {"next_index": 7, "outstanding": [3, 5, 6]}
