"""Learner only: updates on recorded trajectories, so that the other half of the system can be run and timed alone."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from actors.phases.session import Session
from flow.group import Group
from flow.score import Score
from flow.trajectory import Trajectory, VersionSpan
from spatial.json_lines import read_lines
from spatial.sample import ReasoningPath, SpatialSample


@dataclass(frozen=True)
class LearnerOnly:
    """Make one update for each recorded step, without engines."""

    model: Path
    """The model to update, a Hugging Face folder; also the reference of the KL penalty."""
    recorded: Path
    """The `trajectories` folder of a run."""

    async def run(self, session: Session) -> list[dict[str, float]]:
        """Returns each update's metrics."""
        session.control.begin("learner only: loading model")
        files = sorted(self.recorded.glob("step-*.jsonl"))
        learner = await session.start_learner(
            session.config.learner,
            self.model,
            total_steps=len(files) * session.config.steps_per_update,
            reference=self.model,
        )
        samples = {sample.sample_id: sample for sample in session.samples("train")}
        session.control.begin("learner only", len(files))
        metrics = []
        for number, file in enumerate(files, start=1):
            metrics.append(await learner.update(read_groups(file, samples)))
            session.control.advance(number, metrics[-1])
        learner.shutdown()
        return metrics


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
