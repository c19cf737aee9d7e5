"""Groups that are not trained on: why, counts by cause, and the message when no group is left."""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from statistics import fmean, stdev

from actors.config import GroupFilterConfig
from flow.group import Group


class FilterCause(StrEnum):
    """Why a group is not trained on."""

    FAILED = "failed"
    """Fewer than two of its responses were scored."""
    LOW = "low"
    """Its mean reward is too low: the policy never answers the question."""
    HIGH = "high"
    """Its mean reward is too high: the policy masters the question."""
    ALIKE = "alike"
    """Its rewards are all the same, so no response is better than another."""


def why_filtered(group: Group, rule: GroupFilterConfig) -> FilterCause | None:
    """Why the group is left out; None if it is trained on, because it has at least two responses, a mean reward
    strictly between the rule's bounds, and rewards that differ (as in DAPO, arXiv 2503.14476, section 3.2)."""
    if len(group.trajectories) < 2:
        return FilterCause.FAILED
    mean = fmean(group.rewards)
    if mean <= rule.min_mean_reward:
        return FilterCause.LOW
    if mean >= rule.max_mean_reward:
        return FilterCause.HIGH
    is_alike = rule.min_reward_std is not None and stdev(group.rewards) <= rule.min_reward_std
    return FilterCause.ALIKE if is_alike else None


def filter_counts(filtered: Sequence[Group], rule: GroupFilterConfig) -> dict[str, int]:
    """Groups left out by cause, as the metrics `groups_filtered_<cause>`."""
    causes = Counter(why_filtered(group, rule) for group in filtered)
    return {f"groups_filtered_{cause.value}": causes[cause] for cause in FilterCause}


def describe_filtered(filtered: Sequence[Group], rule: GroupFilterConfig) -> str:
    """Why a step has no group left, and what to do about it."""
    causes = Counter(why_filtered(group, rule) for group in filtered)
    words = {
        FilterCause.FAILED: "had fewer than two scored responses",
        FilterCause.LOW: f"had a mean reward at or below training.filter.min_mean_reward={rule.min_mean_reward:g}",
        FilterCause.HIGH: f"had a mean reward at or above training.filter.max_mean_reward={rule.max_mean_reward:g}",
        FilterCause.ALIKE: "had rewards that are all alike (training.filter.min_reward_std)",
    }
    text = f"all of {len(filtered)} groups were filtered out: " + ", ".join(
        f"{causes[cause]} {what}" for cause, what in words.items() if causes[cause]
    )
    rewards = [reward for group in filtered for reward in group.rewards]
    if not rewards:
        return text
    low, high = min(rewards), max(rewards)
    text += (
        f". Rewards were {low:.4g} … {high:.4g}, the filter wants group means between {rule.min_mean_reward:g} and "
        f"{rule.max_mean_reward:g}"
    )
    if low == high == 0:
        return (
            f"{text}: no response earned anything. Make the cold start longer (learner.sft.steps), or choose easier "
            "kinds of question (training.kinds)"
        )
    if high <= rule.min_mean_reward or low >= rule.max_mean_reward:
        return f"{text}: no reward lies there. Fit training.filter to the range of the reward, or the reward to it"
    return f"{text}. Widen training.filter, or choose kinds of question that are sometimes answered (training.kinds)"
