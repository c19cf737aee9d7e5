"""Scores of one answer by rules that benchmarks share, each with its source. p is the answer, g the truth.

Both are numbers in the same unit; reading them is up to the benchmark.
"""

from statistics import fmean
from typing import Literal

MraRule = Literal["published", "exact"]
"""Whether an error meets a bound 1 − θ that it equals in decimals (0.35 for θ = 0.65).

"published": sometimes, because the benchmarks' scripts compare binary numbers (2.7 for 2 misses 0.35, 1.3 meets it).
"exact": always.
"""

MRA_TOLERANCES = (0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05)
"""1 − θ for θ = 0.50, 0.55, …, 0.95."""

# Equal to those of the scripts of VSI-Bench and SPAR-Bench to the last bit: 1 minus NumPy's linspace, whose last value
# is exact.
_PUBLISHED_TOLERANCES = (*(1.0 - (0.5 + step * ((0.95 - 0.5) / 9)) for step in range(9)), 1.0 - 0.95)

# Tolerance for binary rounding of bounds that are written in decimals.
_ROUNDING = 1e-9


def relative_error(predicted: float, true: float) -> float:
    """|p − g| / |g|; the absolute error |p − g| if g = 0.

    Source: absolute relative error as in SpatialRGPT (arXiv 2406.01584, which adds 0.0001 to g); the rule for g = 0
    from SPAR-Bench (arXiv 2503.22976).
    """
    return abs(predicted - true) / (abs(true) or 1.0)


def mean_relative_accuracy(predicted: float, true: float, rule: MraRule = "published") -> float:
    """MRA: over θ = 0.50, 0.55, …, 0.95, the share with |p − g| / |g| ≤ 1 − θ.

    Source: VSI-Bench (arXiv 2412.14171, Section 3.2). Its formula has <; its script and SPAR-Bench use ≤, as here.
    """
    error = relative_error(predicted, true)
    if rule == "published":
        return fmean(error <= tolerance for tolerance in _PUBLISHED_TOLERANCES)
    return fmean(error <= tolerance * (1.0 + _ROUNDING) for tolerance in MRA_TOLERANCES)


def strict_mean_relative_accuracy(predicted: float, true: float) -> float:
    """MRA with |p − g| / |g| < 1 − θ: a bound that is exactly met does not count.

    Source: Omni3D-Bench (arXiv 2502.06787) and its script.
    """
    error = relative_error(predicted, true)
    return fmean(error < tolerance * (1.0 - _ROUNDING) for tolerance in MRA_TOLERANCES)


def is_within_a_quarter(predicted: float, true: float) -> bool:
    """0.75·g ≤ p ≤ 1.25·g, for lengths (g ≥ 0).

    Source: SpatialRGPT-Bench (arXiv 2406.01584), success of distances, widths and heights.
    """
    return 0.75 * true * (1.0 - _ROUNDING) <= predicted <= 1.25 * true * (1.0 + _ROUNDING)


def ratio(predicted: float, true: float) -> float | None:
    """max(p/g, g/p), the factor by which p is too large or too small; None unless both are above 0.

    Source: Q-Spatial Bench (arXiv 2409.09788), where less than 2 is a success.
    """
    if predicted <= 0 or true <= 0:
        return None
    return max(predicted / true, true / predicted)


def hours_apart(predicted_h: float, true_h: float) -> float:
    """The difference of two hours on a clock face, the shorter way round: 0 to 6.

    Source: SpatialRGPT-Bench (arXiv 2406.01584), directions, where up to 1 is a success.
    """
    apart_h = abs(predicted_h - true_h) % 12.0
    return min(apart_h, 12.0 - apart_h)
