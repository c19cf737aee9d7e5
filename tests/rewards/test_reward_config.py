import pytest
from pydantic import ValidationError

from rewards.config import AnswerWeights, CenterStep, GroundedWeights, RewardConfig


def test_the_default_weights_are_those_of_method_md() -> None:
    config = RewardConfig()
    assert dict(config.lor) == {"accuracy": 0.8, "format": 0.2}
    assert dict(config.dtr) == {"accuracy": 0.8, "format": 0.1, "center": 0.1}
    assert dict(config.dtr_without_truth) == {"accuracy": 0.8, "format": 0.2}


def test_the_default_center_steps_are_those_of_method_md() -> None:
    steps = [(step.below_m, step.score) for step in RewardConfig().center_steps]
    assert steps == [(0.1, 1.0), (0.2, 0.8), (0.3, 0.6), (0.4, 0.4), (0.6, 0.2), (1.0, 0.1)]


def test_the_released_code_is_off_by_default() -> None:
    assert not RewardConfig().released_code


def test_weights_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"sum to 0\.9"):
        AnswerWeights(accuracy=0.8, format=0.1)
    with pytest.raises(ValidationError, match=r"sum to 1\.1"):
        GroundedWeights(accuracy=0.8, format=0.2)


def test_a_negative_weight_is_refused_even_when_the_sum_is_one() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        AnswerWeights(accuracy=1.2, format=-0.2)


def test_decimal_weights_sum_to_one_despite_binary_rounding() -> None:
    assert GroundedWeights(accuracy=0.7, format=0.2, center=0.1).center == 0.1


@pytest.mark.parametrize("steps", [[(0.2, 1.0), (0.1, 0.5)], [(0.1, 1.0), (0.1, 0.5)], [(0.1, 0.5), (0.2, 1.0)]])
def test_center_steps_out_of_order_are_refused(steps: list[tuple[float, float]]) -> None:
    with pytest.raises(ValidationError, match="center_steps"):
        RewardConfig(center_steps=tuple(CenterStep(below_m=below_m, score=score) for below_m, score in steps))


def test_a_config_survives_json() -> None:
    config = RewardConfig(released_code=True)
    assert RewardConfig.model_validate_json(config.model_dump_json()) == config


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="centre"):
        RewardConfig.model_validate({"centre": 0.1})


def test_a_custom_reward_must_name_a_module_and_a_function() -> None:
    with pytest.raises(ValidationError, match="custom"):
        RewardConfig(custom="my_rewards.half")


def test_the_released_faults_and_a_custom_reward_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="released_code"):
        RewardConfig(custom="my_rewards:half", released_code=True)
