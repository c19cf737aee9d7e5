"""The off-policy correction in words. Importing this needs neither torch nor DeepSpeed."""

from learner.config import GrpoLoss, GspoLoss, ImportanceConfig, LearnerConfig, RejectionConfig


def describe_correction(config: LearnerConfig) -> str:
    """What is done about responses of another policy than the one in training, in one sentence.

    Example: "token importance weights truncated at 2, no rejection, PPO clip 0.2/0.3, dual clip 3".
    """
    return ", ".join((_importance(config.importance), _rejection(config.rejection), _clip(config.policy_loss)))


def _importance(config: ImportanceConfig) -> str:
    if config.type == "none":
        return "no importance weights"
    return f"{config.type} importance weights truncated at {config.cap:g}"


def _rejection(config: RejectionConfig) -> str:
    match config.type:
        case "none":
            return "no rejection"
        case "token":
            return f"tokens rejected outside ratios {config.low:g} to {config.high:g}"
        case "sequence":
            return f"responses rejected outside mean ratios {config.low:g} to {config.high:g}"


def _clip(config: GrpoLoss | GspoLoss) -> str:
    name = "PPO" if config.type == "grpo" else "GSPO"
    dual = "no dual clip" if config.dual_clip is None else f"dual clip {config.dual_clip:g}"
    return f"{name} clip {config.clip_low:g}/{config.clip_high:g}, {dual}"
