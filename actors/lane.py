"""The books of one path: what was issued, what is ready, what was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actors.feed import PromptFeed
from actors.group import Group


@dataclass
class Lane:
    """One path's flow of groups, from the feed to the learner.

    An index is *outstanding* from its issue until a version trained on its group is published (or the group was
    filtered out or failed). At most `(max_staleness + 1) × quota` are outstanding, and groups are taken in feed
    order, so the oldest weights in a batch are at most `max_staleness` versions old and slow, long responses are
    never overtaken by short ones.
    """

    feed: PromptFeed
    quota: int
    """Groups that one step trains on."""
    max_staleness: int
    max_filtered: int
    """Groups that may be filtered out for one step before the step makes do with what it has."""
    next_index: int = 0
    outstanding: set[int] = field(default_factory=set)
    to_reissue: list[int] = field(default_factory=list)
    """Outstanding at the checkpoint this run was resumed from."""
    ready: dict[int, Group] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)
    num_filtered: int = 0
    """Since the last batch was taken."""

    @property
    def has_room(self) -> bool:
        return len(self.outstanding) < (self.max_staleness + 1) * self.quota and not self.is_exhausted

    @property
    def is_exhausted(self) -> bool:
        return self.num_filtered >= self.max_filtered

    def issue(self) -> int:
        """The next index of the feed, now outstanding."""
        if self.to_reissue:
            index = self.to_reissue.pop(0)
        else:
            index, self.next_index = self.next_index, self.next_index + 1
        self.outstanding.add(index)
        return index

    def accept(self, group: Group) -> None:
        self.ready[group.index] = group

    def reject(self, index: int) -> None:
        """The group at `index` was filtered out or failed: its place is free for another."""
        self.outstanding.discard(index)
        self.num_filtered += 1

    @property
    def next_ready(self) -> int:
        """How many of the groups that the next batch is made of are ready."""
        return sum(index in self.ready for index in sorted(self.outstanding - self.taken)[: self.quota])

    @property
    def batch_is_ready(self) -> bool:
        """Whether the oldest `quota` outstanding groups are ready (all that there are, if the lane is exhausted)."""
        waiting = sorted(self.outstanding - self.taken)
        if self.is_exhausted:
            return all(index in self.ready for index in waiting[: self.quota])
        return len(waiting) >= self.quota and all(index in self.ready for index in waiting[: self.quota])

    def take(self) -> list[Group]:
        """The oldest ready groups, at most `quota`; they stay outstanding until `settle`."""
        indices = sorted(self.ready)[: self.quota]
        self.taken |= set(indices)
        self.num_filtered = 0
        return [self.ready.pop(index) for index in indices]

    def settle(self) -> None:
        """The taken groups were trained on, and the weights made from them are published."""
        self.outstanding -= self.taken
        self.taken = set()

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps: the position, and what was issued but not trained on."""
        return {"next_index": self.next_index, "outstanding": sorted(self.outstanding - self.taken)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.next_index = state["next_index"]
        self.to_reissue = list(state["outstanding"])
