"""Each half of the system without the other: rollouts without a learner, and recorded trajectories for a learner."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from flow.group import Group
from flow.score import Score
from flow.trajectory import Trajectory, VersionSpan
from spatial.json_lines import read_lines
from spatial.sample import ReasoningPath, SpatialSample


class NoLearner:
    """Takes groups and leaves the weights as they are."""

    async def update(self, groups: list[Group]) -> Mapping[str, float]:
        return {}

    async def save_checkpoint(self, step: int, trainer_state: Mapping[str, object]) -> None:
        """There is nothing to save."""


class NoPublisher:
    """The engines keep the weights they started with."""

    def __init__(self) -> None:
        self.exclusive = asyncio.Lock()

    async def publish(self, version: int) -> Mapping[str, float]:
        return {"push_bytes": 0}


def read_groups(file: Path, samples: Mapping[str, SpatialSample]) -> list[Group]:
    """The groups of one recorded step that were trained on.

    Args:
        file: `trajectories/step-….jsonl`, as `RunFolder.write_trajectories` writes it.
        samples: by id.

    Raises:
        KeyError: a recorded sample is not in `samples`.
    """
    rows_by_group = defaultdict(list)
    for row in read_lines(file):
        if row["trained"]:
            rows_by_group[row["path"], row["group"]].append(row)
    return [
        Group(
            index=index,
            sample=samples[rows[0]["sample_id"]],
            path=ReasoningPath(path),
            trajectories=tuple(_trajectory(row, samples[row["sample_id"]]) for row in rows),
            scores=tuple(Score(**row["score"]) for row in rows),
        )
        for (path, index), rows in rows_by_group.items()
    ]


def _trajectory(row: Mapping[str, object], sample: SpatialSample) -> Trajectory:
    fields: dict = dict(row)
    return Trajectory(
        group_id=fields["group"],
        member=fields["member"],
        sample_id=sample.sample_id,
        path=ReasoningPath(fields["path"]),
        images=sample.images,
        prompt_token_ids=tuple(fields["prompt_token_ids"]),
        response_token_ids=tuple(fields["response_token_ids"]),
        rollout_logprobs=tuple(fields["rollout_logprobs"]),
        version_spans=tuple(VersionSpan(version, number) for version, number in fields["version_spans"]),
        response_text=fields["response"],
        finish_reason=fields["finish_reason"],
        engine=fields["engine"],
    )
