"""What a reward of the user's gives is checked where it enters, and becomes plain floats."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from flow.score import Score
from rewards.score_check import ScoreError, plain_score

FINE = {"total": 0.5, "accuracy": 0.5, "format": 0.5}


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (np.float32(0.25), 0.25),
        (np.float64(1.0), 1.0),
        (np.int64(1), 1.0),
        (np.bool_(True), 1.0),
        (np.array(0.5), 0.5),
        (torch.tensor(0.75), 0.75),
        (torch.tensor(0.75, requires_grad=True), 0.75),
        (True, 1.0),
        (0, 0.0),
        (Fraction(1, 4), 0.25),
        (0.7 + 0.2 + 0.1 + 2e-16, 1.0),  # a sum of parts that rounding took past 1
        (-1e-9, 0.0),
    ],
)
@pytest.mark.parametrize("part", ["total", "accuracy", "format", "center", "center_share"])
def test_a_number_of_any_make_becomes_a_plain_float(part: str, given: object, plain: float) -> None:
    score = plain_score(Score(**{**FINE, part: given}), "s7")  # type: ignore[arg-type]
    value = getattr(score, part)
    assert type(value) is float
    assert value == pytest.approx(plain, abs=1e-12)
    assert json.loads(json.dumps(vars(score), allow_nan=False))[part] == value


@pytest.mark.parametrize(
    "given",
    [
        *(math.nan, math.inf, -math.inf, np.float32("nan"), torch.tensor(math.nan)),
        *("0.5", b"1", [0.5], np.array([0.5]), torch.tensor([0.5, 0.5]), 1j, object()),
        *(1e20, -1e20, -0.1, 1.1, 10**400),
    ],
)
@pytest.mark.parametrize("part", ["total", "accuracy", "format", "center", "center_share"])
def test_what_is_no_number_in_its_range_is_refused_by_sample_part_and_value(part: str, given: object) -> None:
    with pytest.raises(ScoreError, match=rf"^sample s7: the reward's {part} is ") as caught:
        plain_score(Score(**{**FINE, part: given}), "s7")  # type: ignore[arg-type]
    assert f"{given!r:.200}" in str(caught.value)


def test_only_the_centre_may_be_none() -> None:
    assert plain_score(Score(**FINE, center=None), "s7").center is None
    for part in ("total", "accuracy", "format", "center_share"):
        with pytest.raises(ScoreError, match=f"sample s7: the reward's {part} is None"):
            plain_score(Score(**{**FINE, part: None}), "s7")  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [None, 0.5, "0.5", {"total": 0.5}, (0.5, 0.5, 0.5)])
def test_what_is_no_score_is_refused_by_sample_and_value(given: object) -> None:
    with pytest.raises(ScoreError, match=r"^sample s7: the reward returned .*, not a Score") as caught:
        plain_score(given, "s7")
    assert repr(given) in str(caught.value)


def test_more_that_a_reward_measured_comes_along_as_plain_numbers() -> None:
    score = plain_score(Score(**FINE, extra={"num_steps": np.int64(4), "nats": torch.tensor(-2.5)}), "s7")  # type: ignore[arg-type]
    assert score.extra == {"num_steps": 4.0, "nats": -2.5}
    assert all(type(value) is float for value in score.extra.values())
    assert plain_score(Score(**FINE), "s7").extra == {}


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"num_steps": float("nan")}, "extra num_steps is nan"),
        ({"num_steps": "4"}, "extra num_steps is '4'"),
        ({"accuracy": 1.0}, "the name 'accuracy'"),
        ({"a/b": 1.0}, "the name 'a/b'"),
        ({3: 1.0}, "the name 3"),
        ([1.0], "must map names to numbers"),
    ],
)
def test_what_cannot_be_a_metric_is_named(extra: object, named: str) -> None:
    with pytest.raises(ScoreError, match="sample s7") as caught:
        plain_score(Score(**FINE, extra=extra), "s7")  # type: ignore[arg-type]
    assert named in str(caught.value)
