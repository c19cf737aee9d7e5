import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow.score import Score
from rewards.config import AnswerWeights, CenterStep, GroundedWeights, RewardConfig
from rewards.reward import center_errors_m, is_correct, score_response
from spatial.grammar import TAGS
from spatial.sample import Answer, ChoiceAnswer, MotionAnswer, NumberAnswer, ReasoningPath, SpatialSample, TextAnswer

MakeSample = Callable[..., SpatialSample]

CONFIG = RewardConfig()
TRUE_M = ((0.02, 1.06, 2.03), (-0.71, 0.88, 3.4))
RED = '<3d_box center="0.02,1.06,2.03">cabinet (red point)</3d_box>'
BLUE = '<3d_box center="-0.71,0.88,3.40">chair (blue point)</3d_box>'
BOTH = f"Find 2 relevant objects:\n{RED}\n{BLUE}"


def lor(answer: str) -> str:
    return f"<think>because</think><answer>{answer}</answer>"


def dtr(detect: str, answer: str) -> str:
    return f"<detect>{detect}</detect>{lor(answer)}"


def test_the_weights_of_the_language_only_path(make_sample: MakeSample) -> None:
    def total(text: str) -> float:
        return score_response(text, ReasoningPath.LOR, make_sample(), CONFIG).total

    assert total(lor("A")) == 1.0
    assert total(lor("B")) == pytest.approx(0.2)
    assert total("<answer>A</answer>") == pytest.approx(0.8)
    assert total("A") == 0.0


def test_the_weights_of_the_detecting_path_with_3d_truth(make_sample: MakeSample) -> None:
    def total(text: str) -> float:
        return score_response(text, ReasoningPath.DTR, make_sample(centers_m=TRUE_M), CONFIG).total

    assert total(dtr(BOTH, "A")) == 1.0
    assert total(dtr(BOTH, "B")) == pytest.approx(0.2)
    assert total(dtr("Find 0 relevant objects:", "A")) == pytest.approx(0.9)
    assert total(dtr("Find 0 relevant objects:", "B")) == pytest.approx(0.1)
    assert total(f"<detect>{BOTH}</detect>") == pytest.approx(0.1)
    assert total(dtr(f"{RED}\n{BLUE}", "A")) == pytest.approx(0.9)
    assert total("<answer>A</answer>") == pytest.approx(0.8)


def test_the_weights_of_the_detecting_path_without_3d_truth(make_sample: MakeSample) -> None:
    for centers in ((), (None,), (TRUE_M[0], None)):
        sample = make_sample(centers_m=centers)
        assert score_response(dtr(BOTH, "A"), ReasoningPath.DTR, sample, CONFIG) == Score(1.0, 1.0, 1.0, None)
        assert score_response(dtr(BOTH, "B"), ReasoningPath.DTR, sample, CONFIG).total == pytest.approx(0.2)
        assert score_response("<answer>A</answer>", ReasoningPath.DTR, sample, CONFIG).total == pytest.approx(0.8)


def test_one_of_two_centers_found_is_the_example_of_score(make_sample: MakeSample) -> None:
    text = dtr(f"Find 1 relevant objects:\n{RED}", "A")
    score = score_response(text, ReasoningPath.DTR, make_sample(centers_m=TRUE_M), CONFIG)
    assert (score.accuracy, score.format, score.center) == (1.0, 1.0, 0.5)
    assert score.total == pytest.approx(0.95)


def test_centers_are_not_scored_on_the_language_only_path(make_sample: MakeSample) -> None:
    assert score_response(lor("A"), ReasoningPath.LOR, make_sample(centers_m=TRUE_M), CONFIG) == Score(
        1.0, 1.0, 1.0, None
    )


def test_a_near_miss_scores_a_share_of_the_accuracy(make_sample: MakeSample) -> None:
    sample = make_sample(NumberAnswer(value=1.0, unit="m"))
    score = score_response(lor("110 cm"), ReasoningPath.LOR, sample, CONFIG)
    assert score.total == pytest.approx(0.8 * math.exp(-0.2 / 1.01) + 0.2)


def test_configured_weights_and_steps_are_used(make_sample: MakeSample) -> None:
    config = RewardConfig(
        lor=AnswerWeights(accuracy=0.5, format=0.5),
        dtr=GroundedWeights(accuracy=0.0, format=0.0, center=1.0),
        dtr_without_truth=AnswerWeights(accuracy=0.25, format=0.75),
        center_steps=(CenterStep(below_m=2.0, score=0.25),),
    )
    assert score_response(lor("B"), ReasoningPath.LOR, make_sample(), config).total == 0.5
    assert score_response(dtr(BOTH, "B"), ReasoningPath.DTR, make_sample(), config).total == 0.75
    assert score_response(dtr(BOTH, "B"), ReasoningPath.DTR, make_sample(centers_m=TRUE_M), config).total == 0.25


def test_correctness_looks_at_the_answer_alone(make_sample: MakeSample) -> None:
    sample = make_sample(NumberAnswer(value=2.0, unit="m"))
    assert is_correct("well: <answer>240 cm</answer>", ReasoningPath.DTR, sample)
    assert not is_correct(lor("2.6"), ReasoningPath.LOR, sample)
    assert not is_correct("2.0", ReasoningPath.LOR, sample)


def test_center_errors_are_measured_where_there_is_truth(make_sample: MakeSample) -> None:
    text = dtr('Find 1 relevant objects:\n<3d_box center="0.02,1.06,2.53">cabinet</3d_box>', "A")
    assert center_errors_m(text, ReasoningPath.DTR, make_sample(centers_m=TRUE_M)) == (0.5,)
    assert center_errors_m(text, ReasoningPath.LOR, make_sample(centers_m=TRUE_M)) is None
    assert center_errors_m(text, ReasoningPath.DTR, make_sample()) is None
    assert center_errors_m(lor("A"), ReasoningPath.DTR, make_sample(centers_m=TRUE_M)) is None


answers = st.one_of(
    st.builds(ChoiceAnswer, letter=st.sampled_from("ABCD"), num_options=st.just(4)),
    st.builds(
        NumberAnswer,
        value=st.floats(allow_nan=False, allow_infinity=False),
        unit=st.sampled_from(["m", "km", "deg", "oclock", "count"]),
    ),
    st.just(MotionAnswer(moves={"move_right": 0.4, "rotate_up": 5.0})),
    st.builds(TextAnswer, text=st.text(min_size=1)),
)
pieces = st.sampled_from([*TAGS, BOTH, RED, "A", "1.2 m", "-0", "1e308 km", "move_right:0.4", "\n", "12 o'clock"])
texts = st.text() | st.lists(pieces | st.text(max_size=5)).map("".join)
answered = texts.map(lor) | st.builds(dtr, texts, texts)


@given(text=texts | answered, path=st.sampled_from(ReasoningPath), answer=answers, grounded=st.booleans())
def test_any_response_gets_a_score_between_zero_and_one(
    make_sample: MakeSample, text: str, path: ReasoningPath, answer: Answer, grounded: bool
) -> None:
    sample: SpatialSample = make_sample(answer, TRUE_M if grounded else ())
    score = score_response(text, path, sample, CONFIG)
    assert 0.0 <= score.total <= 1.0
    assert 0.0 <= score.accuracy <= 1.0
    assert score.format in (0.0, 1.0)
    assert (score.center is not None) == (path is ReasoningPath.DTR and grounded)
    assert score.center is None or 0.0 <= score.center <= 1.0
    assert isinstance(is_correct(text, path, sample), bool)
    errors_m = center_errors_m(text, path, sample)
    assert errors_m is None or all(math.isfinite(error) for error in errors_m)
