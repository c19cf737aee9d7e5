from typing import get_args

import pytest

from learner.algorithms.advantages import AdvantageConfig
from learner.algorithms.advantages.advantage import Advantage
from learner.algorithms.advantages.dr_grpo import DrGrpoAdvantage
from learner.algorithms.advantages.grpo import GrpoAdvantage

ALL: tuple[type[Advantage], ...] = get_args(get_args(AdvantageConfig)[0])


def test_grpo_divides_by_the_standard_deviation_of_the_sample() -> None:
    # mean 0.5, squared deviations 4 × 0.25, divided by 3: std 0.57735
    assert GrpoAdvantage().of_group([1.0, 0.0, 1.0, 0.0]) == pytest.approx(
        [0.866024, -0.866024, 0.866024, -0.866024], abs=1e-6
    )


def test_dr_grpo_only_takes_the_mean_away() -> None:
    assert DrGrpoAdvantage().of_group([1.0, 0.2, 0.6]) == pytest.approx([0.4, -0.4, 0.0])


@pytest.mark.parametrize("advantage", ALL)
def test_equal_rewards_teach_nothing(advantage: type[Advantage]) -> None:
    assert advantage().of_group([0.3] * 5) == pytest.approx([0.0] * 5)


@pytest.mark.parametrize("advantage", ALL)
def test_a_group_of_one_teaches_nothing(advantage: type[Advantage]) -> None:
    assert advantage().of_group([0.7]) == [0.0]


@pytest.mark.parametrize("advantage", ALL)
def test_advantages_of_parts_add_up_to_that_of_the_whole(advantage: type[Advantage]) -> None:
    answers, centers = [0.9, 0.1, 0.9, 0.5], [0.0, 0.1, 0.05, 0.1]
    whole = [answer + center for answer, center in zip(answers, centers, strict=True)]
    parts = zip(advantage().of_group(answers, whole), advantage().of_group(centers, whole), strict=True)
    assert [one + other for one, other in parts] == pytest.approx(advantage().of_group(whole))


def test_a_reward_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        GrpoAdvantage().of_group([0.1, float("nan")])
