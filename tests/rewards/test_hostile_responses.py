"""Responses made to deceive the reward, or to keep it busy: each is scored as a strict reader would, in time."""

import time
from collections.abc import Callable

import pytest

from rewards.config import RewardConfig
from rewards.reward import center_errors_m, is_correct, score_response
from spatial.sample import ChoiceAnswer, MotionAnswer, NumberAnswer, ReasoningPath, SpatialSample, TextAnswer

MakeSample = Callable[..., SpatialSample]

CONFIG = RewardConfig()
LIMIT_S = 0.05
MEGABYTE = 1_000_000
TRUE_M = ((0.02, 1.06, 2.03), (-0.71, 0.88, 3.4))
RED = '<3d_box center="0.02,1.06,2.03">cabinet (red point)</3d_box>'
BLUE = '<3d_box center="-0.71,0.88,3.40">chair (blue point)</3d_box>'
BOTH = f"Find 2 relevant objects:\n{RED}\n{BLUE}"
TAIL = "<think>x</think><answer>A</answer>"
TRUTHS = (
    ChoiceAnswer(letter="A", num_options=2),
    NumberAnswer(value=1.2, unit="m"),
    MotionAnswer(moves={"move_right": 0.4}),
    TextAnswer(text="cube"),
)


def repeat(piece: str, size: int = MEGABYTE) -> str:
    return piece * (size // len(piece))


def detect(inside: str, tail: str = TAIL) -> str:
    return f"<detect>{inside}</detect>{tail}"


def box(center: str) -> str:
    return f'Find 2 relevant objects:\n{RED}\n<3d_box center="{center}">chair (blue point)</3d_box>'


# (response, accuracy, format, centre) of a DTR sample whose answer is A
DECEIVING = {
    "a strict response": (detect(BOTH), 1, 1, 1),
    "nothing": ("", 0, 0, 0),
    "nested answers": (detect(BOTH, "<think>x</think><answer><answer>A</answer></answer>"), 0, 0, 1),
    "repeated answers": (detect(BOTH, f"{TAIL}<answer>A</answer>"), 0, 0, 1),
    "every option as an answer": (detect(BOTH, "<think>x</think><answer>A</answer><answer>B</answer>"), 0, 0, 1),
    "every option in one answer": (detect(BOTH, "<think>x</think><answer>A B</answer>"), 0, 1, 1),
    "an unclosed answer": (detect(BOTH, "<think>x</think><answer>A"), 0, 0, 1),
    "an unclosed think": (detect(BOTH, "<think>x<answer>A</answer>"), 1, 0, 1),
    "an unclosed detect": (f"<detect>{BOTH}{TAIL}", 1, 0, 0),
    "upper-case tags": (detect(BOTH).upper().replace("3D_BOX CENTER", "3d_box center"), 0, 0, 0),
    "an upper-case answer tag": (detect(BOTH, "<think>x</think><ANSWER>A</ANSWER>"), 0, 0, 1),
    "an answer outside the tags": (detect(BOTH, "<think>x</think>A"), 0, 0, 1),
    "an answer after an empty one": (detect(BOTH, "<think>x</think><answer></answer>A"), 0, 0, 1),
    "an answer that quotes the tags": (detect(BOTH, "<think>x</think><answer>A</answer></answer>"), 0, 0, 1),
    "an answer that quotes a section": (detect(BOTH, "<think>x</think><answer><think>A</think></answer>"), 0, 0, 1),
    "a thought that quotes the answer": (detect(BOTH, "<think><answer>A</answer></think><answer>A</answer>"), 0, 0, 1),
    "two detect sections": (detect(BOTH, detect(BOTH)), 1, 0, 0),
    "a nested detect section": (detect(detect(BOTH, "")), 1, 0, 0),
    "detecting last": (f"{TAIL}<detect>{BOTH}</detect>", 1, 0, 1),
    "two numbers": (detect(box("-0.71,0.88")), 1, 0, 0.5),
    "four numbers": (detect(box("-0.71,0.88,3.40,0")), 1, 0, 0.5),
    "an overflowing number": (detect(box("-0.71,0.88,1e999")), 1, 0, 0.5),
    "not a number": (detect(box("nan,nan,nan")), 1, 0, 0.5),
    "a huge number": (detect(box("1e308,-1e308,1e308")), 1, 1, 0.5),
    "minus zero": (detect(box("-0,-0,-0")), 1, 1, 0.5),
    "full-width digits": (detect(box("-０.７１,0.88,3.40")), 1, 0, 0.5),
    "more boxes than objects": (detect(f"Find 4 relevant objects:\n{RED}\n{BLUE}\n{RED}\n{BLUE}"), 1, 1, 0.5),
    "boxes everywhere": (detect("\n".join(["Find 65 relevant objects:", *[RED] * 63, BLUE, BLUE])), 1, 0, 0),
    "twenty thousand boxes": (detect("\n".join(["Find 9999 relevant objects:", *[RED] * 20_000])), 1, 0, 0),
    "a megabyte of answers": (repeat("<answer>"), 0, 0, 0),
    "a megabyte of answered As": (repeat("<answer>A</answer>"), 0, 0, 0),
    "a megabyte of unfinished tags": (repeat("<answer") + detect(BOTH), 1, 0, 1),
    "a megabyte of angle brackets": (repeat("<") + detect(BOTH), 1, 0, 1),
    "a megabyte before": (repeat("x") + detect(BOTH), 1, 0, 1),
    "a megabyte of white space": (repeat(" \n") + detect(BOTH), 1, 1, 1),
    "a megabyte of thought": (detect(BOTH, f"<think>{repeat('so ')}</think><answer>A</answer>"), 1, 1, 1),
    "a megabyte of answer": (detect(BOTH, f"<think>x</think><answer>{repeat('A')}</answer>"), 0, 1, 1),
    "a megabyte of unclosed boxes": (detect(repeat('<3d_box center="')), 1, 0, 0),
    "a megabyte of centre": (detect(f'<3d_box center="{repeat("1")},1,1">cube</3d_box>'), 1, 0, 0),
    "a megabyte of commas": (detect(f'<3d_box center="{repeat(",")}">cube</3d_box>'), 1, 0, 0),
    "a megabyte of name": (detect(f'<3d_box center="1,1,1">{repeat("x")}'), 1, 0, 0),
    "a megabyte of unreadable boxes": (detect(repeat('<3d_box center="nan,1,1">x</3d_box>\n')), 1, 0, 0),
    "a megabyte of lines": (detect(BOTH.replace("\n", repeat("\n"), 1)), 1, 1, 1),
    "a megabyte of count": (detect(f"Find {repeat('1')} relevant objects:\n{RED}\n{BLUE}"), 1, 0, 1),
}

# Answers to each of the truths that are none; 1.2 m, cube, A, and move_right:0.4 are right.
NO_ANSWERS = {
    "a decimal comma": "1,2",
    "an overflowing number": "1e999",
    "not a number": "nan",
    "infinity": "inf m",
    "full-width digits": "１.２",
    "underscores": "1_2",
    "a range": "1.1-1.3",
    "two numbers": "1.2 1.2",
    "a megabyte of digits": repeat("9"),
    "a megabyte of digits and a letter": repeat("9") + "x",
    "a megabyte of spaces in a number": f"1.2{repeat(' ')}m m",
    "a megabyte of units": f"1.2{repeat('m')}",
    "a megabyte of exponents": repeat("1e"),
    "a megabyte of moves": repeat("move_right:0.4,"),
    "a megabyte of colons": f"move_right{repeat(':')}0.4",
    "a megabyte of one move's number": f"move_right:{repeat('0.4')}",
}


@pytest.mark.parametrize("name", DECEIVING)
def test_a_deceiving_response_gets_what_a_strict_reader_gives(name: str, make_sample: MakeSample) -> None:
    text, accuracy, well_formed, center = DECEIVING[name]
    sample = make_sample(centers_m=TRUE_M)
    score = score_response(text, ReasoningPath.DTR, sample, CONFIG)
    assert (score.accuracy, score.format, score.center) == (accuracy, well_formed, pytest.approx(center))
    assert score.total == pytest.approx(0.8 * accuracy + 0.1 * well_formed + 0.1 * center)
    assert is_correct(text, ReasoningPath.DTR, sample) == bool(accuracy)
    assert (center_errors_m(text, ReasoningPath.DTR, sample) is not None) == (center > 0)


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_no_answer_scores_zero_for_every_type_of_truth(name: str, make_sample: MakeSample) -> None:
    for truth in TRUTHS:
        text = f"<think>x</think><answer>{NO_ANSWERS[name]}</answer>"
        score = score_response(text, ReasoningPath.LOR, make_sample(truth), CONFIG)
        assert (score.accuracy, score.format, score.total) == (0.0, 1.0, pytest.approx(0.2))
        assert not is_correct(text, ReasoningPath.LOR, make_sample(truth))


@pytest.mark.parametrize("name", DECEIVING)
def test_a_deceiving_response_is_scored_in_time(name: str, make_sample: MakeSample) -> None:
    assert _fastest_s(DECEIVING[name][0], ReasoningPath.DTR, make_sample(centers_m=TRUE_M)) < LIMIT_S


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_no_answer_is_scored_in_time(name: str, make_sample: MakeSample) -> None:
    text = f"<think>x</think><answer>{NO_ANSWERS[name]}</answer>"
    assert max(_fastest_s(text, ReasoningPath.LOR, make_sample(truth)) for truth in TRUTHS) < LIMIT_S


def _fastest_s(text: str, path: ReasoningPath, sample: SpatialSample) -> float:
    """The least time of a few runs: what the scoring takes when nothing else takes the core."""
    times_s = []
    for _ in range(3):
        start = time.perf_counter()
        score_response(text, path, sample, CONFIG)
        times_s.append(time.perf_counter() - start)
    return min(times_s)
