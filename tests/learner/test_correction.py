import pytest

from learner.config import (
    GspoLoss,
    LearnerConfig,
    NoImportance,
    SequenceImportance,
    SequenceMean,
    SequenceRejection,
    TokenRejection,
)
from learner.correction import describe_correction


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (LearnerConfig(), "token importance weights truncated at 2, no rejection, PPO clip 0.2/0.3, dual clip 3"),
        (
            LearnerConfig(importance=NoImportance(), rejection=TokenRejection(high=4.0)),
            "no importance weights, tokens rejected outside ratios 0.5 to 4, PPO clip 0.2/0.3, dual clip 3",
        ),
        (
            LearnerConfig(
                importance=SequenceImportance(cap=1.5),
                rejection=SequenceRejection(high=1.0002),
                policy_loss=GspoLoss(),
                aggregation=SequenceMean(),
            ),
            "sequence importance weights truncated at 1.5, responses rejected outside mean ratios 0.99 to 1.0002, "
            "GSPO clip 0.0003/0.0004, no dual clip",
        ),
    ],
)
def test_the_correction_is_told_in_one_sentence(config: LearnerConfig, sentence: str) -> None:
    assert describe_correction(config) == sentence
