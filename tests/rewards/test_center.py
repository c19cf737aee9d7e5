import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.center import FAR_M, center_score, matched_errors_m, step_score
from rewards.config import RewardConfig
from spatial.sample import Vector3

STEPS = RewardConfig().center_steps
ORIGIN: Vector3 = (0.0, 0.0, 0.0)
NEAR: Vector3 = (0.0, 0.0, 1.0)
FAR: Vector3 = (0.0, 0.0, 5.0)

centers = st.lists(st.tuples(*[st.floats(-5, 5)] * 3), max_size=6)
wild_centers = st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3), max_size=6)


@pytest.mark.parametrize(
    ("distance_m", "score"),
    [
        (0.0, 1.0),
        (0.099, 1.0),
        (0.1, 0.8),
        (0.199, 0.8),
        (0.2, 0.6),
        (0.299, 0.6),
        (0.3, 0.4),
        (0.399, 0.4),
        (0.4, 0.2),
        (0.5, 0.2),
        (0.599, 0.2),
        (0.6, 0.1),
        (0.999, 0.1),
        (1.0, 0.0),
        (50.0, 0.0),
    ],
)
def test_a_distance_scores_by_its_step(distance_m: float, score: float) -> None:
    assert step_score(distance_m, STEPS) == score
    assert center_score([(0.0, distance_m, 0.0)], [ORIGIN], STEPS) == score


@pytest.mark.parametrize(("predicted_z", "true_z"), [(0.3, 0.2), (1.1, 1.0), (3.4, 3.3), (0.7, 0.8)])
def test_a_tenth_of_a_metre_is_a_tenth_wherever_it_lies(predicted_z: float, true_z: float) -> None:
    assert center_score([(0.0, 0.0, predicted_z)], [(0.0, 0.0, true_z)], STEPS) == 0.8


@pytest.mark.parametrize(
    ("predicted", "true", "score"),
    [
        ([NEAR, FAR], [NEAR, FAR], 1.0),
        ([FAR, NEAR], [NEAR, FAR], 1.0),
        ([NEAR], [NEAR, FAR], 0.5),  # one missed
        ([NEAR, FAR], [NEAR], 0.5),  # one invented
        ([NEAR, NEAR], [NEAR, FAR], 0.5),  # one prediction twice
        ([NEAR], [NEAR, NEAR], 0.5),  # one prediction for two objects in one place
        ([], [NEAR], 0.0),
        ([NEAR], [], 0.0),
        ([(0.0, 0.0, 1.15), FAR], [NEAR, FAR], 0.9),
    ],
)
def test_each_prediction_serves_one_object(predicted: list[Vector3], true: list[Vector3], score: float) -> None:
    assert center_score(predicted, true, STEPS) == pytest.approx(score)


def test_the_matching_is_the_best_one_not_the_greedy_one() -> None:
    predicted = [(0.05, 0.0, 0.0), (-0.15, 0.0, 0.0)]
    true = [(0.0, 0.0, 0.0), (0.2, 0.0, 0.0)]
    # The nearest pair first: 0.05 m and 0.35 m, (1.0 + 0.4) / 2.  Crosswise: 0.15 m and 0.15 m, (0.8 + 0.8) / 2.
    assert center_score(predicted, true, STEPS) == pytest.approx(0.8)
    assert matched_errors_m(predicted, true) == pytest.approx((0.15, 0.15))


def test_errors_come_in_the_order_of_the_true_centers() -> None:
    assert matched_errors_m([(0.0, 0.0, 5.5), (0.0, 0.0, 1.25)], [NEAR, FAR]) == (0.25, 0.5)


def test_errors_are_as_many_as_could_be_matched() -> None:
    assert matched_errors_m([FAR], [NEAR, FAR]) == (0.0,)
    assert matched_errors_m([NEAR, FAR], [FAR]) == (0.0,)
    assert matched_errors_m([], [FAR]) == ()


def test_an_absurd_coordinate_scores_zero_and_leaves_the_error_finite() -> None:
    assert center_score([(1e308, -1e308, 0.0)], [NEAR], STEPS) == 0.0
    assert matched_errors_m([(1e308, -1e308, 0.0)], [NEAR]) == (FAR_M,)


@given(predicted=wild_centers, true=wild_centers)
def test_the_score_lies_between_zero_and_one(predicted: list[Vector3], true: list[Vector3]) -> None:
    assert 0.0 <= center_score(predicted, true, STEPS) <= 1.0


@given(predicted=centers, true=centers, data=st.data())
def test_the_order_of_predictions_does_not_matter(
    predicted: list[Vector3], true: list[Vector3], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(predicted))
    assert center_score(shuffled, true, STEPS) == pytest.approx(center_score(predicted, true, STEPS), abs=1e-12)


@given(true=centers.filter(bool))
def test_the_truth_scores_one(true: list[Vector3]) -> None:
    assert center_score(true, true, STEPS) == 1.0
