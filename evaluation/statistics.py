"""How certain a figure is, and whether two models differ: by resampling the questions.

The questions are the sample, so whole questions are drawn, each with its responses and its orders of options:
responses to one question are correlated and do not count as separate draws. Percentile bootstrap and
randomisation test: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 15.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
NUM_RESAMPLES = 1000

Figures = Mapping[str, float]
Indices = NDArray[np.int64]
Swapped = NDArray[np.bool_]


@dataclass(frozen=True)
class Interval:
    """The range of a figure in `CONFIDENCE` of all draws of the questions."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A figure of one model minus the same figure of another, on the same questions."""

    value: float
    interval: Interval
    p_value: float
    """Probability of a difference at least as large, up or down, if chance assigns the answers to the models."""


def mean_interval(scores: Sequence[Sequence[float]], seed: int) -> Interval | None:
    """The interval of the mean over all responses; None: there is no response.

    Args:
        scores: for each question, the scores of its responses, in [0, 1]: `[[1, 0], [1, 1]]`.
    """
    answered = [each for each in scores if each]
    if not answered:
        return None
    totals = np.array([sum(each) for each in answered], dtype=float)
    counts = np.array([len(each) for each in answered])

    def mean(drawn: Indices) -> Figures:
        return {"mean": float(totals[drawn].sum() / counts[drawn].sum())}

    return figure_intervals(mean, len(answered), {"mean": len(answered)}, seed)["mean"]


def figure_intervals(
    figures: Callable[[Indices], Figures], num_units: int, units_of: Mapping[str, int], seed: int
) -> dict[str, Interval]:
    """The interval of each figure: `num_units` units are drawn with replacement, `NUM_RESAMPLES` times.

    If every draw gives 0 (or 1), the units are all equal and the draws say nothing. The interval then ends at the exact
    bound of a binomial share, `0.05^(1/n)`: a share for which n equal trials have a chance of one in twenty.

    Args:
        figures: computes the figures of the drawn units from their indices, which repeat. A figure may be missing.
        units_of: number of units that a figure is made of, for that bound.
    """
    drawn: dict[str, list[float]] = defaultdict(list)
    for indices in _draws(num_units, seed):
        for name, value in figures(indices).items():
            drawn[name].append(value)
    return {name: _with_bound(_percentiles(values), units_of.get(name, num_units)) for name, values in drawn.items()}


def paired_differences(
    differences: Callable[[Indices, Swapped], Figures], num_units: int, seed: int
) -> dict[str, Difference]:
    """Two models on the same questions: paired bootstrap for the intervals, randomisation for the p-values.

    Args:
        differences: computes each figure of the second model minus the first's, for units given by index (they repeat),
            with the two models' answers exchanged in the units that are `swapped`.
    """
    everyone, nobody = np.arange(num_units), np.zeros(num_units, dtype=bool)
    observed = differences(everyone, nobody)
    drawn: dict[str, list[float]] = defaultdict(list)
    for indices in _draws(num_units, seed):
        for name, value in differences(indices, nobody).items():
            drawn[name].append(value)
    num_as_large: dict[str, int] = defaultdict(int)
    random = np.random.default_rng([seed, 1])
    for _ in range(NUM_RESAMPLES):
        for name, value in differences(everyone, random.random(num_units) < 0.5).items():
            # Sums of the same numbers in another order differ in their last digits.
            num_as_large[name] += abs(value) >= abs(observed.get(name, 0.0)) - 1e-9
    return {
        name: Difference(value, _percentiles(drawn[name]), (1 + num_as_large[name]) / (1 + NUM_RESAMPLES))
        for name, value in observed.items()
        if drawn[name]
    }


def mcnemar_p(num_lost: int, num_won: int) -> float:
    """McNemar's exact test, two-sided, of the questions that only the first or only the second model has right.

    A binomial test with p = 0.5 (McNemar 1947; exact form: Fagerland et al., BMC Med Res Methodol 13:91, 2013). It is
    1 if both counts are 0.
    """
    from scipy.stats import binomtest

    return float(binomtest(num_lost, num_lost + num_won).pvalue) if num_lost + num_won else 1.0


def _draws(num_units: int, seed: int) -> Iterator[Indices]:
    random = np.random.default_rng([seed, 0])
    for _ in range(NUM_RESAMPLES):
        yield random.integers(num_units, size=num_units)


def _percentiles(values: Sequence[float]) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _with_bound(found: Interval, num_units: int) -> Interval:
    bound = (1 - CONFIDENCE) ** (1 / num_units)
    if found.low == found.high == 1.0:
        return Interval(bound, 1.0)
    if found.low == found.high == 0.0:
        return Interval(0.0, 1 - bound)
    return found
