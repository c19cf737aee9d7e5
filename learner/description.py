"""The algorithm of a config in words. Importing this needs neither torch nor DeepSpeed."""

from learner.config import LearnerConfig


def describe_update(config: LearnerConfig) -> str:
    """How rewards become a loss, in one line.

    Example: "advantage (r - mean) / std of the group, all tokens weigh the same".
    """
    return f"{config.advantage.describe()}, {config.aggregation.describe()}"


def describe_correction(config: LearnerConfig) -> str:
    """What is done about responses that another policy sampled than the one in training, in one line.

    Example: "token importance weights truncated at 2, no rejection, PPO clip 0.2/0.3, dual clip 3".
    """
    return ", ".join(choice.describe() for choice in (config.importance, config.rejection, config.policy_loss))
