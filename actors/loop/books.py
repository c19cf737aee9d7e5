"""The books of all paths together: what the next step trains on, and what was filtered out since the last one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from actors.config import GroupFilterConfig
from actors.loop.filtering import describe_filtered, why_filtered
from actors.loop.lane import Lane
from flow.group import Group
from spatial.sample import ReasoningPath


@dataclass(frozen=True)
class Batch:
    """The groups of one step."""

    trained: list[Group]
    """Every path's quota, in the order of the feed."""
    filtered: list[Group]
    """Groups that were filtered out since the step before."""


class Books:
    """A lane for each path, and the filter that decides which groups enter it."""

    def __init__(self, lanes: Mapping[ReasoningPath, Lane], rule: GroupFilterConfig) -> None:
        self.lanes = lanes
        self._rule = rule
        self._filtered: list[Group] = []

    def issue(self) -> Iterator[tuple[Lane, int]]:
        """Every index that there is room for, with its lane; each is outstanding as soon as it is given out."""
        for lane in self.lanes.values():
            while lane.has_room:
                yield lane, lane.issue()

    def enter(self, lane: Lane, group: Group) -> bool:
        """Enter a group that is complete; False: it was filtered out, and there is room for another."""
        if why_filtered(group, self._rule) is None:
            lane.accept(group)
            return True
        lane.reject(group.index)
        self._filtered.append(group)
        return False

    @property
    def batch_is_ready(self) -> bool:
        return all(lane.batch_is_ready for lane in self.lanes.values())

    def take(self) -> Batch:
        """The batch, which must be ready; its groups stay outstanding until `settle`.

        Raises:
            ValueError: every group was filtered out; the message says why, and what to do.
        """
        trained = [group for lane in self.lanes.values() for group in lane.take()]
        if not trained:
            raise ValueError(describe_filtered(self._filtered, self._rule))
        filtered, self._filtered = self._filtered, []
        return Batch(trained, filtered)

    def settle(self) -> None:
        """The batch was trained on, and the weights made from it are published."""
        for lane in self.lanes.values():
            lane.settle()

    def describe_missing(self) -> str:
        """What the next batch waits for."""
        return "groups: " + ", ".join(f"{path} {lane.num_ready} of {lane.quota}" for path, lane in self.lanes.items())

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps, by path."""
        return {path.value: lane.state() for path, lane in self.lanes.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        for path, lane in self.lanes.items():
            lane.restore(state[path.value])
