"""What a run records of a group: a row for each response, and one entry by which the group is found again."""

from collections.abc import Iterator
from dataclasses import asdict
from statistics import fmean

import numpy as np

from flow.group import Group
from spatial.json_lines import to_json


def group_lines(group: Group, trained: bool) -> str:
    """A line of JSON for each response, then for each failure."""
    return "".join(to_json(row) + "\n" for row in _rows(group, trained))


def group_entry(group: Group, trained: bool, step: int, place: tuple[int, int]) -> dict[str, object]:
    """A group at a glance, with what a picture of its sample needs.

    Args:
        place: where its lines begin in the step's file of trajectories, and their length; both in bytes.
    """
    centers = [score.center for score in group.scores if score.center is not None]
    return {
        "step": step,
        "path": group.path.value,
        "group": group.index,
        "kind": group.sample.kind,
        "trained": trained,
        "num_responses": len(group.scores),
        "num_failures": len(group.failures),
        "reward_mean": fmean(group.rewards) if group.scores else None,
        "accuracy_mean": fmean(score.accuracy for score in group.scores) if group.scores else None,
        "center_mean": fmean(centers) if centers else None,
        "place": place,
        # What the model saw, and the true answer; chains and objects are for the cold start.
        "sample": group.sample.model_dump(mode="json", exclude={"chains", "objects"}, exclude_none=True),
    }


def _rows(group: Group, trained: bool) -> Iterator[dict[str, object]]:
    shared = {
        "group": group.index,
        "sample_id": group.sample.sample_id,
        "kind": group.sample.kind,
        "path": group.path.value,
        "trained": trained,
        "prompt": group.sample.question,
        "truth": group.sample.answer.model_dump(),
    }
    for trajectory, score in zip(group.trajectories, group.scores, strict=True):
        yield {
            **shared,
            "member": trajectory.member,
            "images": [image.sha256 for image in trajectory.images],
            "response": trajectory.response_text,
            "score": vars(score),
            "version_spans": [[span.weight_version, span.num_tokens] for span in trajectory.version_spans],
            "prompt_token_ids": trajectory.prompt_token_ids,
            "response_token_ids": trajectory.response_token_ids,
            # Most of a row's time is this rounding, and NumPy is five times as fast at it as a loop.
            "rollout_logprobs": np.asarray(trajectory.rollout_logprobs).round(6).tolist(),
            "finish_reason": trajectory.finish_reason,
            "engine": trajectory.engine,
        }
    for failure in group.failures:
        yield {
            "group": group.index,
            "sample_id": group.sample.sample_id,
            "path": group.path.value,
            "trained": False,
            "failure": asdict(failure),
        }
