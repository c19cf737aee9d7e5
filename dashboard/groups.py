"""The groups that a run recorded: searched by their attributes, opened one at a time."""

import math
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from jaxtyping import Bool, Int
from numpy import ndarray

from dashboard.tail import GrowingFile
from spatial.json_lines import read_object
from spatial.sample import ReasoningPath, SpatialSample

_NUMBERS = ("reward_mean", "accuracy_mean", "center_mean")
_NEEDED = {"step", "kind", "path", "trained", "place", *_NUMBERS}


@dataclass(frozen=True)
class GroupQuery:
    """Which groups to find; None or empty means any."""

    paths: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    min_reward: float = 0.0
    max_reward: float = 1.0
    first_step: int | None = None
    last_step: int | None = None
    trained_only: bool = False


@dataclass(frozen=True)
class GroupSummary:
    """A group in a list."""

    number: int
    """Its row in the table; `GroupTable.open` takes it."""
    step: int
    path: str
    kind: str
    is_trained: bool
    reward_mean: float
    accuracy_mean: float
    center_mean: float
    """NaN if the group has none."""


@dataclass(frozen=True)
class RecordedResponse:
    """One response of a group, as it was recorded."""

    member: int
    text: str
    score: dict[str, float | None]
    version_spans: tuple[tuple[int, int], ...]
    token_ids: tuple[int, ...]
    finish_reason: str
    engine: str


@dataclass(frozen=True)
class RecordedGroup:
    """A group with its sample, all its responses and the failures."""

    step: int
    path: ReasoningPath
    index: int
    is_trained: bool
    sample: SpatialSample
    responses: tuple[RecordedResponse, ...]
    failures: tuple[str, ...]


class GroupTable:
    """`groups.jsonl` by column. Samples and responses are read from disk only when a group is opened."""

    def __init__(self, file: Path, trajectories: Path) -> None:
        self._file = GrowingFile(file)
        self._trajectories = trajectories
        self._clear()

    def _clear(self) -> None:
        self.kinds: list[str] = []
        self.paths: list[str] = []
        self._offsets, self._steps = array("q"), array("i")
        self._kinds, self._paths, self._trained = array("H"), array("B"), array("B")
        self._numbers = {name: array("f") for name in _NUMBERS}

    def __len__(self) -> int:
        return len(self._offsets)

    def refresh(self) -> None:
        """Read the lines that were added."""
        if self._file.was_replaced():
            self._clear()
        for offset, line in self._file.new_lines():
            entry = read_object(line)
            if entry is None or not entry.keys() >= _NEEDED:
                continue
            self._offsets.append(offset)
            self._steps.append(entry["step"])
            self._kinds.append(_code(self.kinds, entry["kind"]))
            self._paths.append(_code(self.paths, entry["path"]))
            self._trained.append(entry["trained"])
            for name, column in self._numbers.items():
                column.append(math.nan if entry[name] is None else entry[name])

    def find(self, query: GroupQuery) -> Int[ndarray, " found"]:
        """The numbers of the groups that match, newest first."""
        found = self._matching(query).nonzero()[0]
        return found[::-1]

    def _matching(self, query: GroupQuery) -> Bool[ndarray, " groups"]:
        rewards, steps = np.array(self._numbers["reward_mean"]), np.array(self._steps)
        # A group without a score has no reward; it matches unless the query limits the reward.
        matching = np.isnan(rewards) if (query.min_reward, query.max_reward) == (0, 1) else np.zeros(len(self), bool)
        # Rewards are kept to seven digits.
        matching = matching | ((rewards >= query.min_reward - 1e-6) & (rewards <= query.max_reward + 1e-6))
        for column, names, chosen in (
            (self._paths, self.paths, query.paths),
            (self._kinds, self.kinds, query.kinds),
        ):
            if chosen:
                matching &= np.isin(np.array(column), [names.index(name) for name in chosen if name in names])
        if query.first_step is not None:
            matching &= steps >= query.first_step
        if query.last_step is not None:
            matching &= steps <= query.last_step
        if query.trained_only:
            matching &= np.array(self._trained, dtype=bool)
        return matching

    def summary(self, number: int) -> GroupSummary:
        """The group with a number that `find` returned."""
        return GroupSummary(
            number=number,
            step=self._steps[number],
            path=self.paths[self._paths[number]],
            kind=self.kinds[self._kinds[number]],
            is_trained=bool(self._trained[number]),
            **{name: column[number] for name, column in self._numbers.items()},
        )

    def open(self, number: int) -> RecordedGroup:
        """
        Raises:
            IndexError: there is no such group.
            FileNotFoundError: the run's folder has lost the step's responses.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"there is no group {number}: {len(self)} were recorded")
        with self._file.path.open("rb") as file:
            file.seek(self._offsets[number])
            entry = orjson.loads(file.readline())
        start, length = entry["place"]
        with (self._trajectories / f"step-{entry['step']:06d}.jsonl").open("rb") as file:
            file.seek(start)
            lines = map(read_object, file.read(length).splitlines())
            rows = [row for row in lines if row is not None]
        return RecordedGroup(
            step=entry["step"],
            path=ReasoningPath(entry["path"]),
            index=entry["group"],
            is_trained=entry["trained"],
            sample=SpatialSample.model_validate_json(orjson.dumps(entry["sample"])),
            responses=tuple(_response(row) for row in rows if "failure" not in row),
            failures=tuple("{stage}: {reason}".format(**row["failure"]) for row in rows if "failure" in row),
        )


def _response(row: dict[str, Any]) -> RecordedResponse:
    return RecordedResponse(
        member=row["member"],
        text=row["response"],
        score=row["score"],
        version_spans=tuple((version, number) for version, number in row["version_spans"]),
        token_ids=tuple(row["response_token_ids"]),
        finish_reason=row["finish_reason"],
        engine=row["engine"],
    )


def _code(names: list[str], name: str) -> int:
    """The index of a name in a short list; a new name is appended."""
    if name not in names:
        names.append(name)
    return names.index(name)
