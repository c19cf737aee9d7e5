"""Groups that a step leaves out: counts by cause, and the message when no group is left."""

from collections import Counter
from collections.abc import Sequence

from actors.config import GroupFilterConfig
from actors.group import FilterCause, Group


def filter_counts(filtered: Sequence[Group], rule: GroupFilterConfig) -> dict[str, int]:
    """How many groups were left out for each cause, as `groups_filtered_<cause>`."""
    causes = Counter(group.why_filtered(rule) for group in filtered)
    return {f"groups_filtered_{cause.value}": causes[cause] for cause in FilterCause}


def describe_filtered(filtered: Sequence[Group], rule: GroupFilterConfig) -> str:
    """Why a step has no group left, and what to do about it."""
    causes = Counter(group.why_filtered(rule) for group in filtered)
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
    if high <= rule.min_mean_reward or low >= rule.max_mean_reward:
        return f"{text}: no reward lies there. Fit training.filter to the range of the reward, or the reward to it"
    return f"{text}. Widen training.filter, or choose kinds of question that are sometimes answered (training.kinds)"
