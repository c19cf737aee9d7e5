"""Which tokens of a response get which advantage.

A token can only change what comes after it. Once the detect block is closed, the centres are fixed, and a token of the
thought or the answer has no influence on them. To credit it with them would only add noise to its gradient.

Both advantages are measured on the scale of the whole reward. So a token of the detect block gets the advantage that
`credit="response"` would give it, and the centres weigh as much in the gradient as in the reward.
"""

from bisect import bisect_left
from collections.abc import Sequence

from flow.group import Group
from learner.batch import TrainingRow
from learner.config import LearnerConfig
from spatial.grammar import DETECT_CLOSE
from vlm.prompt import decode


def group_rows(group: Group, config: LearnerConfig, tokenizer: object) -> list[TrainingRow]:
    """The rows of one group that are trained on, each with its advantages under `config.credit`.

    Args:
        group: scored responses to one sample.
        config: `advantage` says how rewards become advantages; with `credit="spans"` the centres' share of the reward
            is one reward and the rest of it another, each with advantages of its own, on one scale.
        tokenizer: the policy's.
    """
    totals = group.rewards
    shares, nums_detect_tokens = zip(*_center_credit(group, config, tokenizer), strict=True)
    rest = [total - share for total, share in zip(totals, shares, strict=True)]
    return [
        TrainingRow(
            sample=group.sample,
            trajectory=trajectory,
            advantage=advantage,
            detect_advantage=detect_advantage,
            num_detect_tokens=num_tokens,
        )
        for trajectory, advantage, detect_advantage, num_tokens in zip(
            group.trajectories,
            config.advantage.of_group(rest, whole_G=totals),
            config.advantage.of_group(shares, whole_G=totals),
            nums_detect_tokens,
            strict=True,
        )
        # After the advantages: the reward of a truncated response is part of how well its group did.
        if not (config.mask_truncated and trajectory.is_truncated)
    ]


def _center_credit(group: Group, config: LearnerConfig, tokenizer: object) -> list[tuple[float, int]]:
    """For each response the share of its reward that only its first tokens are credited with, and their number."""
    match config.credit:
        case "response":
            return [(0.0, 0)] * len(group.trajectories)
        case "spans":
            return [
                (score.center_share, num_detect_tokens(trajectory.response_token_ids, tokenizer))
                for trajectory, score in zip(group.trajectories, group.scores, strict=True)
            ]


def num_detect_tokens(response_token_ids: Sequence[int], tokenizer: object) -> int:
    """The number of tokens up to the end of the first `</detect>`; 0 if there is none."""

    def is_closed(num_tokens: int) -> bool:
        return DETECT_CLOSE in decode(tokenizer, response_token_ids[:num_tokens])

    num_tokens = bisect_left(range(len(response_token_ids)), True, key=is_closed)
    return num_tokens if is_closed(num_tokens) else 0
