"""The faults that method.md lists, each beside what the project's own reward gives."""

from collections.abc import Callable

import pytest

from rewards.config import RewardConfig
from rewards.reward import score_response
from spatial.sample import NumberAnswer, Path, SpatialSample, Vector3

MakeSample = Callable[..., SpatialSample]

OWN = RewardConfig()
RELEASED = RewardConfig(released_code=True)
NEAR: Vector3 = (0.0, 0.0, 1.0)
FAR: Vector3 = (0.0, 0.0, 5.0)


def centers(
    make_sample: MakeSample, detected: tuple[str, ...], true: tuple[Vector3, ...], question: str = "Which?"
) -> list[float]:
    """The centre scores of the released reward and of the project's own."""
    boxes = "".join(f'\n<3d_box center="{center}">cube</3d_box>' for center in detected)
    text = f"<detect>Find {len(detected)} relevant objects:{boxes}</detect><think>x</think><answer>A</answer>"
    sample = make_sample(centers_m=true, question=question)
    scores = [score_response(text, Path.DTR, sample, config).center for config in (RELEASED, OWN)]
    return [score for score in scores if score is not None]


def test_a_missed_object_costs_nothing(make_sample: MakeSample) -> None:
    assert centers(make_sample, ("0,0,1",), (NEAR, FAR)) == [1.0, 0.5]


def test_one_prediction_matches_several_objects_and_the_score_passes_one(make_sample: MakeSample) -> None:
    assert centers(make_sample, ("0,0,1",), (NEAR, (0.0, 0.0, 1.15))) == [pytest.approx(1.8), 0.5]


def test_the_total_passes_one_too(make_sample: MakeSample) -> None:
    text = (
        '<detect>Find 1 relevant objects:\n<3d_box center="0,0,1">x</3d_box></detect><think></think><answer>A</answer>'
    )
    score = score_response(text, Path.DTR, make_sample(centers_m=(NEAR, NEAR)), RELEASED)
    assert score.center == 2.0
    assert score.total == pytest.approx(1.1)


def test_a_center_of_fewer_than_three_numbers_is_accepted(make_sample: MakeSample) -> None:
    assert centers(make_sample, ("0,0",), (NEAR,)) == [1.0, 0.0]
    assert centers(make_sample, ("0.15",), (NEAR,)) == [0.8, 0.0]


def test_a_center_of_four_numbers_or_of_none_is_not_accepted(make_sample: MakeSample) -> None:
    assert centers(make_sample, ("0,0,1,0",), (NEAR,)) == [0.0, 0.0]
    assert centers(make_sample, ("",), (NEAR,)) == [0.0, 0.0]


def test_a_question_about_the_first_image_scores_zero_for_detection(make_sample: MakeSample) -> None:
    assert centers(make_sample, ("0,0,1",), (NEAR,), "Which is closer in the first image?") == [0.0, 1.0]


def test_an_answer_with_a_unit_scores_zero(make_sample: MakeSample) -> None:
    sample = make_sample(NumberAnswer(value=1.2, unit="m"))
    text = "<think>x</think><answer>1.2 m</answer>"
    assert score_response(text, Path.LOR, sample, RELEASED).accuracy == 0.0
    assert score_response(text, Path.LOR, sample, OWN).accuracy == 1.0


def test_what_is_no_fault_scores_the_same(make_sample: MakeSample) -> None:
    assert centers(make_sample, ("0,0,1", "0,0,5.25"), (NEAR, FAR)) == [0.8, 0.8]
    for answer in ("A", "B", ""):
        text = f"<think>x</think><answer>{answer}</answer>"
        scores = [score_response(text, Path.LOR, make_sample(), config) for config in (RELEASED, OWN)]
        assert scores[0] == scores[1]
    bare = "<think>x</think><answer>1.3</answer>"
    sample = make_sample(NumberAnswer(value=1.2, unit="m"))
    assert score_response(bare, Path.LOR, sample, RELEASED) == score_response(bare, Path.LOR, sample, OWN)
