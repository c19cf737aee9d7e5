"""The centre reward: how near predicted 3D centres are to the true ones (docs/method.md, "Rewards": centre).

Predictions are matched to true centres one to one, by distance alone: the names and marks that a response writes
beside its boxes do not matter. Centres are metres in the camera frame (or the reference frame of several images).
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from rewards.config import CenterStep
from spatial.sample import Vector3

FAR_M = 1e6
"""Larger distances count as this, so that one absurd coordinate leaves sums and means finite."""


def center_score(predicted_m: Sequence[Vector3], true_m: Sequence[Vector3], steps: Sequence[CenterStep]) -> float:
    """The mean score of the objects in [0, 1], under the one-to-one matching with the best score.

    Divided by the number of predicted or true centres, whichever is larger: a missed object costs as much as an
    invented one.
    """
    if not predicted_m or not true_m:
        return 0.0
    # (predicted, true)
    scores = np.array([[step_score(distance_m(p, t), steps) for t in true_m] for p in predicted_m])
    rows, columns = linear_sum_assignment(scores, maximize=True)
    return math.fsum(scores[rows, columns].tolist()) / max(len(predicted_m), len(true_m))


def matched_errors_m(predicted_m: Sequence[Vector3], true_m: Sequence[Vector3]) -> tuple[float, ...]:
    """Distances under the one-to-one matching with the smallest sum, in the order of the true centres; metres.

    If there are fewer predictions than true centres, the unmatched centres are left out.
    """
    if not predicted_m or not true_m:
        return ()
    # (true, predicted), metres: the matching comes back sorted by its first axis
    distances = np.array([[distance_m(p, t) for p in predicted_m] for t in true_m])
    rows, columns = linear_sum_assignment(distances)
    return tuple(distances[rows, columns].tolist())


def step_score(distance_m: float, steps: Sequence[CenterStep]) -> float:
    """The score of the first step that `distance_m` is below, or 0."""
    for step in steps:
        if distance_m < step.below_m:
            return step.score
    return 0.0


def distance_m(predicted_m: Sequence[float], true_m: Sequence[float]) -> float:
    """Euclidean distance, rounded to a nanometre, at most `FAR_M`.

    Rounded because 0.30 − 0.20 is below 0.1 in binary: with coordinates of two decimals the distance is often exactly
    that of a step, and which side it falls on must not depend on where in the scene the object is.
    """
    return round(min(math.dist(predicted_m, true_m), FAR_M), 9)
