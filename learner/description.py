"""The algorithm of a config in words. Importing this needs neither torch nor DeepSpeed."""

from learner.config import LearnerConfig


def describe_update(config: LearnerConfig) -> str:
    """How rewards become a loss, in one line.

    Example: "advantage (r - mean) / std of the group, PPO clip 0.2/0.3, dual clip 3, all tokens weigh the same".
    """
    return ", ".join(choice.describe() for choice in (config.advantage, config.policy_loss, config.aggregation))


def describe_correction(config: LearnerConfig) -> str:
    """What is done about responses that another policy sampled than the one in training, in one line.

    Example: "token importance weights truncated at 2, no rejection".
    """
    return f"{config.importance.describe()}, {config.rejection.describe()}"
