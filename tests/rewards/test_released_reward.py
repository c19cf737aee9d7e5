"""What the released reward does otherwise, as docs/method.md lists it, beside what the project's own reward gives."""

import time
from collections.abc import Callable, Sequence

import pytest

from rewards.config import RewardConfig
from rewards.reward import score_response
from spatial.sample import ChoiceAnswer, MotionAnswer, NumberAnswer, ReasoningPath, SpatialSample, Vector3

MakeSample = Callable[..., SpatialSample]

OWN = RewardConfig()
RELEASED = RewardConfig(released_code=True)
NEAR: Vector3 = (0.0, 0.0, 1.0)
FAR: Vector3 = (0.0, 0.0, 5.0)


NAMES = ("cube (red point)", "cone (blue point)")


def detected(*boxes: tuple[str, str], header: str | None = None) -> str:
    """A whole DTR response with boxes of these centres and names."""
    lines = [f'<3d_box center="{center}">{name}</3d_box>' for center, name in boxes]
    head = f"Find {len(boxes)} relevant objects:" if header is None else header
    return f"<detect>{chr(10).join([head, *lines])}</detect><think>x</think><answer>A</answer>"


def centers(
    make_sample: MakeSample, boxes: tuple[str, ...], true: tuple[Vector3, ...], names: Sequence[str] = NAMES
) -> list[float]:
    """The centre scores of the released reward and of the project's own."""
    text = detected(*zip(boxes, names, strict=False))
    scores = [
        score_response(text, ReasoningPath.DTR, make_sample(centers_m=true), config).center
        for config in (RELEASED, OWN)
    ]
    return [score for score in scores if score is not None]


def test_a_missed_object_costs_nothing(make_sample: MakeSample) -> None:
    assert centers(make_sample, ("0,0,1",), (NEAR, FAR)) == [1.0, 0.5]


def test_one_name_with_two_marks_matches_both_objects_and_the_score_passes_one(make_sample: MakeSample) -> None:
    both = ("cube (red point) by a cone (blue point)",)
    assert centers(make_sample, ("0,0,1",), (NEAR, (0.0, 0.0, 1.15)), both) == [pytest.approx(1.8), 0.5]
    score = score_response(
        detected(("0,0,1", both[0])), ReasoningPath.DTR, make_sample(centers_m=(NEAR, NEAR)), RELEASED
    )
    assert score.center == 2.0
    assert score.total == pytest.approx(1.1)


def test_a_center_of_fewer_than_three_numbers_is_accepted(make_sample: MakeSample) -> None:
    assert centers(make_sample, ("0,0",), (NEAR,)) == [1.0, 0.0]
    assert centers(make_sample, ("0.15",), (NEAR,)) == [0.8, 0.0]


def test_a_center_of_four_numbers_or_of_none_is_not_accepted(make_sample: MakeSample) -> None:
    assert centers(make_sample, ("0,0,1,0",), (NEAR,)) == [0.0, 0.0]
    assert centers(make_sample, ("",), (NEAR,)) == [0.0, 0.0]


def test_an_object_is_found_by_the_mark_in_its_name_and_not_by_its_place(make_sample: MakeSample) -> None:
    assert centers(make_sample, ("0,0,5", "0,0,1"), (NEAR, FAR)) == [0.0, 1.0]  # the marks exchanged
    assert centers(make_sample, ("0,0,1", "0,0,5"), (NEAR, FAR), ("cube", "cone")) == [0.0, 1.0]
    assert centers(make_sample, ("0,0,1",), (NEAR,), ("red cube (blue point)",)) == [0.0, 1.0]


def test_of_equal_names_the_last_counts(make_sample: MakeSample) -> None:
    assert centers(make_sample, ("0,0,5", "0,0,1"), (NEAR,), (NAMES[0], NAMES[0])) == [1.0, 0.5]
    assert centers(make_sample, ("0,0,1", "0,0,5"), (NEAR,), (NAMES[0], NAMES[0])) == [0.0, 0.5]


def test_a_detect_section_needs_no_header_and_may_say_anything(make_sample: MakeSample) -> None:
    sample = make_sample(centers_m=(NEAR,))
    for header in ("", "Here they are.", "Find 7 relevant objects:"):
        text = detected(("0,0,1", NAMES[0]), header=header)
        assert score_response(text, ReasoningPath.DTR, sample, RELEASED).total == pytest.approx(1.0)
        assert score_response(text, ReasoningPath.DTR, sample, OWN).format == 0.0
    astray = f"So: {detected(('0,0,1', NAMES[0]))}"
    assert score_response(astray, ReasoningPath.DTR, sample, RELEASED).format == 0.0


def test_a_question_about_the_first_image_scores_zero_for_detection_where_there_are_several(
    make_sample: MakeSample,
) -> None:
    text = detected(("0,0,1", NAMES[0]))
    one = make_sample(centers_m=(NEAR,), question="Which is closer in the first image?")
    two = one.replace(images=one.images * 2)
    scores = [score_response(text, ReasoningPath.DTR, sample, RELEASED).center for sample in (one, two)]
    assert scores == [1.0, 0.0]
    assert score_response(text, ReasoningPath.DTR, two, OWN).center == 1.0


def test_several_views_are_compared_in_the_frame_that_the_response_names(make_sample: MakeSample) -> None:
    one = make_sample(centers_m=(NEAR,))
    region = one.regions[0].replace(centers_by_image_m=(NEAR, FAR, None))
    sample = one.replace(images=one.images * 3, regions=(region,))
    scores = {}
    for frame in (None, 0, 1, 2, 7):
        header = None if frame is None else f"After aligning to the reference frame {frame}, find 1 relevant objects:"
        text = detected(("0,0,5", NAMES[0]), header=header)
        scores[frame] = score_response(text, ReasoningPath.DTR, sample, RELEASED).center
    assert scores == {None: 0.0, 0: 0.0, 1: 1.0, 2: 0.0, 7: 0.0}


@pytest.mark.parametrize(
    "answer", ["C", "c", "(C)", "[c]", "$C$", r"\boxed{C}", r"\boxed{(c)}", r"\text{C}", r"\(C\)", "{C}"]
)
def test_a_dressed_letter_is_right(make_sample: MakeSample, answer: str) -> None:
    sample = make_sample(ChoiceAnswer(letter="C", num_options=4))
    assert (
        score_response(f"<think>x</think><answer>{answer}</answer>", ReasoningPath.LOR, sample, RELEASED).total == 1.0
    )


@pytest.mark.parametrize(
    "answer", ["", "D", "(D)", "C.", "C)", "(C", "**C**", "C. left", "C D", "(C, D)", "the answer is C"]
)
def test_what_mathruler_takes_for_no_letter_is_wrong(make_sample: MakeSample, answer: str) -> None:
    sample = make_sample(ChoiceAnswer(letter="C", num_options=4))
    assert (
        score_response(f"<think>x</think><answer>{answer}</answer>", ReasoningPath.LOR, sample, RELEASED).accuracy
        == 0.0
    )


@pytest.mark.parametrize(
    ("answer", "released", "own"),
    [
        ("move_right:0.4,rotate_up:5", 1.0, 1.0),
        ("move_right:0.4, rotate_up:5", 1.0, 1.0),
        ("move_right: 0.4, rotate_up: 5", 0.0, 1.0),
        ("It moves: move_right:0.4 and then rotate_up:5.", 1.0, 0.0),
        ("move_right:0.4", 0.5, 0.5),
    ],
)
def test_moves_are_words_and_numbers_without_a_space_anywhere(
    make_sample: MakeSample, answer: str, released: float, own: float
) -> None:
    sample = make_sample(MotionAnswer(moves={"move_right": 0.4, "rotate_up": 5.0}))
    text = f"<think>x</think><answer>{answer}</answer>"
    scores = [score_response(text, ReasoningPath.LOR, sample, config).accuracy for config in (RELEASED, OWN)]
    assert scores == [released, own]


def test_an_answer_with_a_unit_scores_zero(make_sample: MakeSample) -> None:
    sample = make_sample(NumberAnswer(value=1.2, unit="m"))
    text = "<think>x</think><answer>1.2 m</answer>"
    assert score_response(text, ReasoningPath.LOR, sample, RELEASED).accuracy == 0.0
    assert score_response(text, ReasoningPath.LOR, sample, OWN).accuracy == 1.0


def test_what_is_no_fault_scores_the_same(make_sample: MakeSample) -> None:
    assert centers(make_sample, ("0,0,1", "0,0,5.25"), (NEAR, FAR)) == [0.8, 0.8]
    for answer in ("A", "B", ""):
        text = f"<think>x</think><answer>{answer}</answer>"
        scores = [score_response(text, ReasoningPath.LOR, make_sample(), config) for config in (RELEASED, OWN)]
        assert scores[0] == scores[1]
    bare = "<think>x</think><answer>1.3</answer>"
    sample = make_sample(NumberAnswer(value=1.2, unit="m"))
    assert score_response(bare, ReasoningPath.LOR, sample, RELEASED) == score_response(
        bare, ReasoningPath.LOR, sample, OWN
    )


@pytest.mark.parametrize("piece", ["x", "move_right:", "move_right:0.4,", "9", "{", "\\boxed{", "reference frame "])
def test_a_megabyte_of_anything_is_scored_in_time(make_sample: MakeSample, piece: str) -> None:
    megabyte = piece * (1_000_000 // len(piece))
    text = f"<detect>{megabyte}</detect><think>x</think><answer>{megabyte}</answer>"
    start = time.perf_counter()
    for truth in (ChoiceAnswer(letter="A", num_options=2), MotionAnswer(moves={"move_right": 0.4})):
        score_response(text, ReasoningPath.DTR, make_sample(truth, centers_m=(NEAR,)), RELEASED)
    assert time.perf_counter() - start < 2.0
