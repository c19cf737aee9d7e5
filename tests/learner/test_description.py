from typing import get_args

import pytest

from learner.algorithms.advantages import AdvantageConfig
from learner.algorithms.advantages.dr_grpo import DrGrpoAdvantage
from learner.algorithms.aggregation import AggregationConfig, ConstantLength, SequenceMean
from learner.algorithms.algorithm import Algorithm
from learner.algorithms.importance import ImportanceConfig, NoImportance, SequenceImportance
from learner.algorithms.policy_losses import PolicyLossConfig
from learner.algorithms.policy_losses.gspo import GspoLoss
from learner.algorithms.rejection import RejectionConfig, SequenceRejection, TokenRejection
from learner.config import LearnerConfig
from learner.description import describe_correction, describe_update


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (LearnerConfig(), "token importance weights truncated at 2, no rejection"),
        (
            LearnerConfig(importance=NoImportance(), rejection=TokenRejection(high=4.0)),
            "no importance weights, tokens rejected outside ratios 0.5 to 4",
        ),
        (
            LearnerConfig(importance=SequenceImportance(cap=1.5), rejection=SequenceRejection(high=1.0002)),
            "sequence importance weights truncated at 1.5, responses rejected outside mean ratios 0.99 to 1.0002",
        ),
    ],
)
def test_the_correction_is_described_in_one_sentence(config: LearnerConfig, sentence: str) -> None:
    assert describe_correction(config) == sentence


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            LearnerConfig(),
            "advantage (r - mean) / std of the group, PPO clip 0.2/0.3, dual clip 3, all tokens weigh the same",
        ),
        (
            LearnerConfig(advantage=DrGrpoAdvantage(), aggregation=ConstantLength(normalizer_tokens=128)),
            "advantage r - mean of the group, PPO clip 0.2/0.3, dual clip 3, a response is its sum over 128 tokens",
        ),
        (
            LearnerConfig(policy_loss=GspoLoss(), aggregation=SequenceMean()),
            "advantage (r - mean) / std of the group, GSPO clip 0.0003/0.0004, no dual clip, "
            f"{SequenceMean().describe()}",
        ),
    ],
)
def test_the_update_is_described_in_one_sentence(config: LearnerConfig, sentence: str) -> None:
    assert describe_update(config) == sentence


@pytest.mark.parametrize(
    "family", [AdvantageConfig, PolicyLossConfig, AggregationConfig, ImportanceConfig, RejectionConfig]
)
def test_no_two_alternatives_of_a_family_are_described_alike(family: object) -> None:
    alternatives = get_args(get_args(family)[0])
    required = {"normalizer_tokens": 128}
    made = [kind(**{name: required[name] for name in kind.model_fields.keys() & required}) for kind in alternatives]
    assert len(made) > 1
    assert len({alternative.describe() for alternative in made}) == len(made)


def test_every_algorithm_of_the_config_is_checked_against_the_others() -> None:
    config = LearnerConfig()
    chosen = {value for _, value in config if isinstance(value, Algorithm)}
    assert chosen == set(config.algorithms)
    assert len(chosen) == 5
