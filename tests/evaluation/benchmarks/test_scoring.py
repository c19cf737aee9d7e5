"""The rules that benchmarks share, by literal numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.benchmarks.scoring import (
    hours_apart,
    is_within_a_quarter,
    mean_relative_accuracy,
    ratio,
    relative_error,
    strict_mean_relative_accuracy,
)

FEW = settings(max_examples=50, deadline=None)
FINITE = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("predicted", "true", "share", "strict_share"),
    [
        (2.0, 2.0, 1.0, 1.0),
        (2.1, 2.0, 1.0, 0.9),  # an error of 0.05 meets the last bound, and is not below it
        (1.9, 2.0, 1.0, 0.9),
        (2.11, 2.0, 0.9, 0.9),
        (1.5, 2.0, 0.6, 0.5),
        (3.0, 2.0, 0.1, 0.0),
        (1.0, 2.0, 0.1, 0.0),
        (3.01, 2.0, 0.0, 0.0),
        (-2.0, 2.0, 0.0, 0.0),
        (-2.1, -2.0, 1.0, 0.9),
        (0.0, 0.0, 1.0, 1.0),  # a truth of 0: the error itself
        (0.25, 0.0, 0.6, 0.5),
        (-0.5, 0.0, 0.1, 0.0),
        (0.51, 0.0, 0.0, 0.0),
        (float("inf"), 2.0, 0.0, 0.0),
        (float("nan"), 2.0, 0.0, 0.0),
    ],
)
def test_mra_is_the_share_of_ten_bounds_that_are_met(
    predicted: float, true: float, share: float, strict_share: float
) -> None:
    assert mean_relative_accuracy(predicted, true) == pytest.approx(share)
    assert strict_mean_relative_accuracy(predicted, true) == pytest.approx(strict_share)


def test_a_bound_that_is_just_met_counts_as_in_the_published_scripts() -> None:
    assert mean_relative_accuracy(2.7, 2.0) == pytest.approx(0.3)  # in binary an error of more than 0.35
    assert mean_relative_accuracy(4.0, 5.0) == pytest.approx(0.6)
    assert mean_relative_accuracy(1.65, 3.0) == pytest.approx(0.1)
    assert mean_relative_accuracy(1.3, 2.0) == pytest.approx(0.4)  # in binary an error of just 0.35


@FEW
@given(predicted_cm=st.integers(0, 400), true_cm=st.integers(1, 200))
def test_mra_is_that_of_the_published_scripts_to_the_last_bit(predicted_cm: int, true_cm: int) -> None:
    error = abs(predicted_cm / 100 - true_cm / 100) / (true_cm / 100)
    met = error <= 1 - np.linspace(0.5, 0.95, 10)
    assert mean_relative_accuracy(predicted_cm / 100, true_cm / 100) == pytest.approx(met.mean(), abs=1e-12)


def test_by_the_exact_rule_every_bound_written_in_decimals_is_met() -> None:
    shares = [mean_relative_accuracy(1.0 + percent / 100, 1.0, "exact") for percent in range(5, 55, 5)]
    assert shares == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    strict = [strict_mean_relative_accuracy(1.0 + percent / 100, 1.0) for percent in range(5, 55, 5)]
    assert strict == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    assert mean_relative_accuracy(2.7, 2.0, "exact") == pytest.approx(0.4)


@FEW
@given(predicted=FINITE, true=FINITE)
def test_the_strict_share_is_never_above_the_other(predicted: float, true: float) -> None:
    assert 0.0 <= strict_mean_relative_accuracy(predicted, true) <= mean_relative_accuracy(predicted, true) <= 1.0


@pytest.mark.parametrize(
    ("predicted", "true", "error"), [(3.0, 2.0, 0.5), (1.0, -2.0, 1.5), (0.3, 0.0, 0.3), (0.0, 0.0, 0.0)]
)
def test_the_relative_error_of_a_zero_is_the_error_itself(predicted: float, true: float, error: float) -> None:
    assert relative_error(predicted, true) == pytest.approx(error)


@pytest.mark.parametrize(
    ("predicted", "true", "is_success"),
    [
        (0.75, 1.0, True),
        (1.25, 1.0, True),
        (0.749, 1.0, False),
        (1.251, 1.0, False),
        (0.375, 0.3, True),  # 1.25 · 0.3 is not 0.375 in binary
        (0.0, 0.0, True),
        (0.01, 0.0, False),
        (-1.0, 1.0, False),
    ],
)
def test_a_length_within_a_quarter_is_a_success_bounds_included(
    predicted: float, true: float, is_success: bool
) -> None:
    assert is_within_a_quarter(predicted, true) is is_success


@pytest.mark.parametrize(
    ("predicted", "true", "times"),
    [(2.0, 1.0, 2.0), (1.0, 2.0, 2.0), (3.0, 3.0, 1.0), (0.0, 1.0, None), (1.0, 0.0, None), (-1.0, -1.0, None)],
)
def test_the_ratio_is_how_many_times_off_and_none_without_two_lengths(
    predicted: float, true: float, times: float | None
) -> None:
    assert ratio(predicted, true) == times


@pytest.mark.parametrize(
    ("predicted_h", "true_h", "apart_h"),
    [(12.0, 1.0, 1.0), (1.0, 12.0, 1.0), (11.0, 1.0, 2.0), (6.0, 12.0, 6.0), (3.0, 3.0, 0.0), (7.0, 12.0, 5.0)],
)
def test_hours_are_counted_the_shorter_way_round(predicted_h: float, true_h: float, apart_h: float) -> None:
    assert hours_apart(predicted_h, true_h) == apart_h


@FEW
@given(first=st.integers(1, 12), second=st.integers(1, 12), turns=st.integers(-3, 3))
def test_hours_apart_are_the_same_either_way_and_after_whole_turns(first: int, second: int, turns: int) -> None:
    assert hours_apart(first, second) == hours_apart(second, first) == hours_apart(first + 12 * turns, second)
    assert hours_apart(first, second) <= 6.0
