"""The books of one path: which groups were issued, are ready, or were trained on."""

from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from actors.config import TrainingConfig
from actors.loop.feed import PromptFeed
from flow.group import Group
from spatial.dataset import Subset
from spatial.sample import ReasoningPath, SpatialSample


@dataclass
class Lane:
    """One path's flow of groups, from the feed to the learner.

    An index is *outstanding* from its issue until a version trained on its group is published, or the group is
    filtered out. At most `(max_staleness + 1) × quota` are outstanding, and groups are taken in feed order, so the
    oldest weights in a batch are at most `max_staleness` versions old, and short responses never overtake long ones.

    Indices are issued in ascending order, so the books stay in that order without sorting: every call but `take` and
    `state` takes the same time, however many are outstanding.
    """

    feed: PromptFeed
    quota: int
    """Groups that one step trains on."""
    max_staleness: int
    max_filtered: int
    """Groups that may be filtered out for one step; after that, the step trains on the groups that it has."""
    next_index: int = 0
    to_reissue: deque[int] = field(default_factory=deque)
    """Indices that were outstanding at the checkpoint that this run was resumed from, ascending."""
    batch: dict[int, Group | None] = field(default_factory=dict)
    """The groups of the next step: the oldest `quota` outstanding ones that were not taken; None: not ready yet."""
    later: OrderedDict[int, Group | None] = field(default_factory=OrderedDict)
    """The groups after them. An OrderedDict, because removing the first key of a dict again and again costs its whole
    length each time."""
    num_ready: int = 0
    """Groups of `batch` that are ready."""
    num_taken: int = 0
    """Groups that are being trained on; they are still outstanding."""
    num_filtered: int = 0
    """Since the last batch was taken."""

    @property
    def has_room(self) -> bool:
        num_outstanding = len(self.batch) + len(self.later) + self.num_taken
        return num_outstanding < (self.max_staleness + 1) * self.quota and not self.is_exhausted

    @property
    def is_exhausted(self) -> bool:
        return self.num_filtered >= self.max_filtered

    def issue(self) -> int:
        """The feed's next index, which is outstanding from now on."""
        if self.to_reissue:
            index = self.to_reissue.popleft()
        else:
            index, self.next_index = self.next_index, self.next_index + 1
        self.later[index] = None
        self._fill_batch()
        return index

    def accept(self, group: Group) -> None:
        if group.index in self.batch:
            self.batch[group.index] = group
            self.num_ready += 1
        else:
            self.later[group.index] = group

    def reject(self, index: int) -> None:
        """The group at `index` was filtered out: its place is free for another."""
        if index in self.batch:
            del self.batch[index]
            self._fill_batch()
        else:
            del self.later[index]
        self.num_filtered += 1

    def _fill_batch(self) -> None:
        while self.later and len(self.batch) < self.quota:
            index, group = self.later.popitem(last=False)
            self.batch[index] = group
            self.num_ready += group is not None

    @property
    def batch_is_ready(self) -> bool:
        """Whether the oldest `quota` outstanding groups are ready; if the lane is exhausted, all that it has."""
        return self.num_ready == len(self.batch) and (len(self.batch) == self.quota or self.is_exhausted)

    def take(self) -> list[Group]:
        """The batch, which must be ready; its groups stay outstanding until `settle`."""
        assert self.batch_is_ready
        groups = [group for group in self.batch.values() if group is not None]
        self.num_taken += len(groups)
        self.num_ready = self.num_filtered = 0
        self.batch.clear()
        self._fill_batch()
        return groups

    def settle(self) -> None:
        """The taken groups were trained on, and the weights made from them are published."""
        self.num_taken = 0

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps: the position, and the indices that were issued but not trained on."""
        return {"next_index": self.next_index, "outstanding": [*self.batch, *self.later, *self.to_reissue]}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.next_index = state["next_index"]
        self.to_reissue = deque(state["outstanding"])


def _is_of(kinds: Collection[str], sample: SpatialSample) -> bool:
    return sample.kind in kinds


def make_lanes(samples: Sequence[SpatialSample], config: TrainingConfig, seed: int) -> dict[ReasoningPath, Lane]:
    """A lane for each path that is trained, over the samples of its kinds of question."""
    lanes = {}
    for path, quota in config.groups_per_step.items():
        if quota:
            kinds = config.kinds.get(path)
            wanted = samples if kinds is None else Subset(samples, partial(_is_of, kinds))
            lanes[path] = Lane(
                feed=PromptFeed(wanted, path, seed),
                quota=quota,
                max_staleness=config.max_staleness,
                max_filtered=config.filter.max_rounds * quota,
            )
    return lanes
