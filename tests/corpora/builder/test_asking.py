"""What is asked of an annotated image, when it is not, and that the answer is true."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpora.builder.annotated import AnnotatedImage, AnnotatedObject
from corpora.builder.asking import WorkedExample, ask, style_of
from corpora.builder.config import KINDS, BuildConfig, Margins, SceneSource
from spatial.questions.kinds import KINDS as QUESTION_KINDS
from spatial.questions.measures import X, across_m, front_m, step_cm
from spatial.questions.question import Question
from spatial.sample import ChoiceAnswer, NumberAnswer
from tests.spatial.questions.oracle import exact_value, winner

from .worlds import random_scene, scene, thing

CONFIG = BuildConfig(out=Path("out"), source=SceneSource())


def asked(kind: str, image: AnnotatedImage, seed: int = 0, **margins: Any) -> Question | str:
    return question_of(ask(kind, image, CONFIG.replace(margins=Margins(**margins)), np.random.default_rng(seed)))


def question_of(found: WorkedExample | str) -> Question | str:
    return found.question if isinstance(found, WorkedExample) else found


def pair(first: dict[str, Any], second: dict[str, Any]) -> tuple[AnnotatedObject, AnnotatedObject]:
    return thing(slot=0, **first), thing(slot=1, **second)


def at(x: float, y: float, z: float) -> dict[str, Any]:
    return {"center_m": (x, y, z)}


@pytest.mark.parametrize(
    ("kind", "one", "other", "clear"),
    [
        ("left_right", at(0.0, 0, 2.0), at(0.17, 0, 2.0), True),
        ("left_right", at(0.0, 0, 2.0), at(0.15, 0, 2.0), False),
        # Right in space, left in the picture: nearer objects lie farther out.
        ("left_right", at(-0.5, 0, 1.0), at(-0.8, 0, 4.0), False),
        ("above_below", at(0, 0.0, 2.0), at(0, 0.17, 2.0), True),
        ("above_below", at(0, 0.0, 2.0), at(0, 0.15, 2.0), False),
        ("closer_to_camera", at(0, 0, 2.0), at(0, 0, 2.3), True),
        ("closer_to_camera", at(0, 0, 2.0), at(0, 0, 2.1), False),
        # The bed's centre is farther away, its front is not.
        ("closer_to_camera", at(0, 0, 2.0), {**at(0, 0, 2.5), "size_m": (1.5, 0.5, 2.2)}, False),
        ("larger", {"size_m": (1.0, 0.5, 0.5)}, {"size_m": (1.3, 0.5, 0.5)}, True),
        ("larger", {"size_m": (1.0, 0.5, 0.5)}, {"size_m": (1.2, 0.5, 0.5)}, False),
        # A broom is longer than a box, but nobody calls it larger.
        ("larger", {"size_m": (1.0, 0.9, 0.9)}, {"size_m": (0.1, 1.6, 0.1)}, False),
        ("distance", at(0, 0, 2.0), at(0.45, 0, 2.0), True),
        ("distance", at(0, 0, 2.0), at(0.35, 0, 2.0), False),
        ("direction", at(0, 0, 2.0), at(0.5, 0, 2.0), True),
        ("direction", at(0, 0, 2.0), at(0.5, 0, 2.0 + 0.5 * math.tan(math.radians(15))), False),
        ("direction", at(0, 0, 2.0), at(0.2, 0, 2.0), False),
    ],
)
def test_a_comparison_is_asked_where_a_margin_makes_it_clear(
    kind: str, one: dict[str, Any], other: dict[str, Any], clear: bool
) -> None:
    first, second = pair(one, other)
    for things in ((first, second), (second, first)):
        assert QUESTION_KINDS[kind].is_clear(things, scene(first, second), style_of(CONFIG)) is clear
    assert isinstance(asked(kind, scene(first, second)), Question) is clear


def test_two_marks_that_lie_on_each_other_are_not_compared() -> None:
    one, other = pair(at(0, 0, 2.0), at(0, 0, 4.0))
    shifted = other.replace(box_xyxy_px=(3.0, 10.0, 21.0, 40.0))
    assert asked("closer_to_camera", scene(one, shifted)) == "unclear"
    assert isinstance(asked("closer_to_camera", scene(one, shifted), max_overlap=0.8), Question)


def test_a_question_that_its_decimals_tie_or_turn_is_not_asked() -> None:
    tied = pair({"size_m": (0.012, 0.012, 0.012)}, {"size_m": (0.0149, 0.0149, 0.0149)})
    assert asked("larger", scene(*tied), size_ratio=1.1) == "rounding"
    assert asked("height", scene(thing(size_m=(0.5, 0.105, 0.5))), rounding_share=0.04) == "rounding"
    assert asked("height", scene(thing(size_m=(0.5, 0.105, 0.5))), rounding_share=0.05) != "rounding"
    # 0.115 m apart, 0.12 m as the centres are written.
    near = pair(at(0.0049, 0, 0.5), at(0.12, 0, 0.5))
    assert asked("distance", scene(*near), rounding_share=0.04) == "rounding"


def test_the_width_is_what_one_sees_from_the_camera() -> None:
    assert across_m(thing(size_m=(0.5, 0.9, 2.0), yaw_deg=0.0)) == pytest.approx(0.5)
    assert across_m(thing(size_m=(0.5, 0.9, 2.0), yaw_deg=90.0)) == pytest.approx(2.0)
    assert across_m(thing(size_m=(0.5, 0.9, 2.0), yaw_deg=-150.0)) == pytest.approx(0.5 * 0.75**0.5 + 1.0)
    assert front_m(thing(size_m=(0.5, 0.9, 2.0), yaw_deg=90.0)) == pytest.approx(1.75)


def test_a_name_is_counted_only_where_all_that_bear_it_are_known() -> None:
    chairs = (thing("chair", 0), thing("chair", 1), thing("sofa", 2))
    found = asked("count", scene(*chairs, uncountable=frozenset({"sofa"})))
    assert isinstance(found, Question)
    assert (found.verdict, found.regions) == ("2", ())
    assert '"chair"' in found.text
    assert asked("count", scene(*chairs, uncountable=frozenset({"sofa", "chair"}))) == "unclear"
    assert asked("count", scene(*chairs, uncountable=frozenset({"*"}))) == "unclear"


def test_the_nearest_of_several_is_nearer_than_each_by_the_margin() -> None:
    near, middle, far = (thing(slot=i, **at(0.3 * i, 0, z)) for i, z in enumerate((2.0, 3.0, 3.01)))
    found = asked("nearest", scene(near, middle, far))
    assert isinstance(found, Question)
    assert isinstance(found.answer, ChoiceAnswer)
    assert found.subjects["ABC".index(found.answer.letter)].thing == near
    assert asked("nearest", scene(near, middle, far.replace(center_m=(0.6, 0.0, 2.05)))) == "unclear"
    assert asked("nearest", scene(near, middle)) == "unclear"


@pytest.mark.parametrize(
    ("dx", "dz", "hour"), [(0, 1, 12), (1, 0, 3), (0, -1, 6), (-1, 0, 9), (0.5, 0.866, 1), (-0.5, 0.866, 11)]
)
def test_a_direction_is_the_clock_hour_seen_from_above(dx: float, dz: float, hour: int) -> None:
    one, other = thing("one", 0, **at(0, 0, 3.0)), thing("other", 1, **at(dx, 0, 3.0 + dz))
    hours = set()
    for seed in range(20):
        found = asked("direction", scene(one, other), seed)
        assert isinstance(found, Question)
        if found.subjects[0].thing == one:
            hours.add(found.verdict)
    assert hours == {f"{hour} o'clock"}


def test_every_answer_is_what_the_exact_world_says() -> None:
    """An oracle of its own: from the exact numbers, not from those that are written."""
    rng = np.random.default_rng(3)
    kinds: Counter[str] = Counter()
    for _ in range(60):
        image = random_scene(rng, 6)
        for kind in KINDS:
            found = question_of(ask(kind, image, CONFIG, rng))
            if isinstance(found, Question):
                kinds[kind] += 1
                _check_against_the_world(found, image)
    assert min(kinds[kind] for kind in KINDS) > 30, kinds


def _check_against_the_world(found: Question, image: AnnotatedImage) -> None:
    truths = [subject.thing for subject in found.subjects]
    match found.answer:
        case ChoiceAnswer(letter=letter):
            values = [exact_value(found.kind, truth) for truth in truths]
            assert "ABCD".index(letter) == winner(found.kind, values)
        case NumberAnswer(value=value, unit="count"):
            assert value == sum(other.name == truths[0].name for other in image.objects)
        case NumberAnswer(value=value, unit="oclock"):
            dx, dz = (truths[1].center_m[axis] - truths[0].center_m[axis] for axis in (0, 2))
            apart = (math.degrees(math.atan2(dx, dz)) / 30 - value) % 12
            assert min(apart, 12 - apart) < 0.4
        case NumberAnswer(value=value) if found.kind == "distance":
            assert value == pytest.approx(math.dist(truths[0].center_m, truths[1].center_m), rel=0.03)
        case NumberAnswer(value=value):
            assert value == pytest.approx(exact_value(found.kind, truths[0]), rel=0.03)


def test_answers_are_balanced() -> None:
    rng = np.random.default_rng(4)
    letters: Counter[tuple[str, str]] = Counter()
    hours: Counter[str] = Counter()
    for _ in range(400):
        image = random_scene(rng, 5)
        for kind in ("left_right", "above_below", "closer_to_camera", "larger", "direction"):
            found = question_of(ask(kind, image, CONFIG, rng))
            if isinstance(found, Question) and isinstance(found.answer, ChoiceAnswer):
                letters[kind, found.answer.letter] += 1
            elif isinstance(found, Question):
                hours[found.verdict] += 1
    for kind in ("left_right", "above_below", "closer_to_camera", "larger"):
        share = letters[kind, "A"] / (letters[kind, "A"] + letters[kind, "B"])
        assert 0.42 < share < 0.58, (kind, share)
    assert len(hours) == 12
    assert min(hours.values()) > 10


def test_numbers_are_written_without_a_negative_zero() -> None:
    assert str(X.written(thing(**at(-0.004, 0, 2.0)), 2)) == "0.0"
    assert step_cm(*pair(at(-0.004, 0.006, 2.0), at(0.004, -0.006, 2.5))) == (0, -2, 50)
