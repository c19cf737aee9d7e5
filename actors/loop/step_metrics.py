"""A step's groups as numbers, path by path. Pure."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from flow.group import Group
from spatial.sample import ReasoningPath


def step_metrics(trained: Sequence[Group], filtered: Sequence[Group], weight_version: int) -> dict[str, float | None]:
    """Means over every response that was made for a step, trained on or not, so that the filter does not bias them; and
    counts of groups.

    Args:
        weight_version: the version of the policy that the step updates; staleness is counted from it.
    """
    metrics: dict[str, float | None] = {}
    for path in ReasoningPath:
        metrics |= _path_metrics(path, [group for group in (*trained, *filtered) if group.path is path])
        metrics[f"{path.value}/groups_trained"] = sum(group.path is path for group in trained)
        metrics[f"{path.value}/groups_filtered"] = sum(group.path is path for group in filtered)
    # By token: a span counts once for each of its tokens.
    num_tokens_by_staleness: Counter[int] = Counter()
    for group in trained:
        for trajectory in group.trajectories:
            for span in trajectory.version_spans:
                num_tokens_by_staleness[weight_version - span.weight_version] += span.num_tokens
    staleness = +num_tokens_by_staleness  # drops versions without tokens
    return metrics | {
        "groups_trained": len(trained),
        "groups_filtered": len(filtered),
        "staleness_mean": fmean(staleness, weights=staleness.values()) if staleness else 0.0,
        "staleness_max": max(staleness, default=0),
    }


def _path_metrics(path: ReasoningPath, groups: Sequence[Group]) -> dict[str, float | None]:
    scores = [score for group in groups for score in group.scores]
    trajectories = [trajectory for group in groups for trajectory in group.trajectories]
    lengths = [len(trajectory.response_token_ids) for trajectory in trajectories]
    center_scores = [score.center for score in scores if score.center is not None]

    def mean(values: Sequence[float]) -> float | None:
        return fmean(values) if values else None

    metrics = {
        f"{path.value}/reward_mean": mean([score.total for score in scores]),
        f"{path.value}/accuracy_mean": mean([score.accuracy for score in scores]),
        f"{path.value}/format_mean": mean([score.format for score in scores]),
        f"{path.value}/response_tokens_mean": mean(lengths),
        f"{path.value}/truncated_share": mean([trajectory.is_truncated for trajectory in trajectories]),
    }
    if path is ReasoningPath.DTR:
        metrics[f"{path.value}/center_mean"] = mean(center_scores)
    extra: dict[str, list[float]] = {}
    for score in scores:
        for name, value in score.extra.items():
            extra.setdefault(name, []).append(value)
    return metrics | {f"{path.value}/{name}_mean": fmean(values) for name, values in sorted(extra.items())}
