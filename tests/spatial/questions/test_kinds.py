"""Questions on objects with literal positions: what the words mean, and when a question is not asked."""

from dataclasses import replace

import numpy as np
import pytest

from spatial.questions.choosing import choose_subjects
from spatial.questions.kinds import KINDS
from spatial.questions.measures import clock_hour
from spatial.questions.question import Question, Subject
from spatial.questions.scene import EVERY_NAME
from spatial.sample import ChoiceAnswer, NumberAnswer, ReasoningPath
from spatial.scenes.asking import STYLE
from spatial.scenes.scene import ObjectTruth, SceneTruth


def thing(name: str, x: float, y: float, z: float, size: tuple[float, float, float] = (0.2, 0.2, 0.2)) -> ObjectTruth:
    pixel = (100 * x / z + 64, 100 * y / z + 64)
    return ObjectTruth(name, name.split()[1], (x, y, z), size, 0.0, pixel, (1.0, 1.0, 9.0, 9.0), 64, 1.0)  # type: ignore[arg-type]


CUBE = thing("red cube", -0.30, 0.20, 1.00)
BALL = thing("blue sphere", 0.30, -0.10, 1.50, size=(0.3, 0.3, 0.3))


def ask(kind: str, *things: ObjectTruth, seed: int = 0) -> Question:
    subjects = tuple(map(Subject.named, things))
    return KINDS[kind].ask(subjects, scene_of(*things), STYLE, np.random.default_rng(seed))


def scene_of(*things: ObjectTruth) -> SceneTruth:
    return SceneTruth(things, size_px=(128, 128))


def choose(kind: str, *things: ObjectTruth) -> object:
    return choose_subjects(KINDS[kind], scene_of(*things), STYLE, np.random.default_rng(0))


def write_chain(question: Question, path: ReasoningPath) -> str | None:
    return KINDS[question.kind].chain(question, STYLE, path)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("closer_to_camera", "red cube"),
        ("nearest", "red cube"),
        ("leftmost", "red cube"),
        ("larger", "blue sphere"),
        ("left_right", "left"),
        ("above_below", "below"),
        ("distance", "0.8 m"),  # sqrt(0.36 + 0.09 + 0.25) = 0.837
        ("direction", "2 o'clock"),  # 0.6 to the right and 0.5 away: 50 degrees
        ("depth", "1.00 m"),
        ("height", "0.20 m"),
        ("count", "2"),
    ],
)
def test_the_answer_is_what_the_geometry_says(kind: str, verdict: str) -> None:
    things = (CUBE,) if kind in ("depth", "height") else (CUBE, BALL)
    assert ask(kind, *things).verdict == verdict


@pytest.mark.parametrize(
    ("right", "far", "hour"),
    [(0, 1, 12), (1, 0, 3), (0, -1, 6), (-1, 0, 9), (0.5, 0.866, 1), (-0.5, 0.866, 11), (-0.5, -0.866, 7)],
)
def test_twelve_is_away_from_the_camera_and_three_to_the_right(right: float, far: float, hour: int) -> None:
    assert clock_hour(right, far, margin_deg=1.0) == hour


def test_a_direction_between_two_hours_has_none() -> None:
    assert clock_hour(1.0, 1.0, margin_deg=14.0) is None  # 45 degrees: half past one


def test_a_letter_follows_from_the_words_of_the_question() -> None:
    assert ask("closer_to_camera", CUBE, BALL).text.endswith("red cube (A) or blue sphere (B)")
    assert ask("closer_to_camera", CUBE, BALL).answer == ChoiceAnswer(letter="A", num_options=2)
    assert ask("closer_to_camera", BALL, CUBE).answer == ChoiceAnswer(letter="B", num_options=2)
    assert ask("left_right", BALL, CUBE).text.endswith("? left (A) or right (B)")
    assert ask("left_right", BALL, CUBE).said == "right (B)"
    assert ask("above_below", BALL, CUBE).said == "above (A)"


def test_the_leftmost_of_all_has_any_letter() -> None:
    letters = set()
    for seed in range(20):
        question = ask("leftmost", CUBE, BALL, seed=seed)
        assert isinstance(question.answer, ChoiceAnswer)
        assert f"red cube ({question.answer.letter})" in question.text
        letters.add(question.answer.letter)
    assert letters == {"A", "B"}


def test_numbers_carry_their_unit() -> None:
    assert ask("depth", BALL).answer == NumberAnswer(value=1.5, unit="m")
    assert ask("direction", CUBE, BALL).answer == NumberAnswer(value=2.0, unit="oclock")
    assert ask("count", CUBE, BALL).answer == NumberAnswer(value=2.0, unit="count")


def test_exists_asks_for_what_is_there_or_almost_there() -> None:
    for seed in range(40):
        question = ask("exists", CUBE, BALL, seed=seed)
        asked = question.text.split("?")[0].split()[-2:]
        assert (question.verdict == "yes") == (" ".join(asked) in ("red cube", "blue sphere"))
        assert asked[0] in ("red", "blue") or asked[1] in ("cube", "sphere")


def test_an_orange_thing_gets_an_an() -> None:
    texts = {ask("exists", thing("orange cone", 0.0, 0.0, 1.0), seed=seed).text for seed in range(40)}
    assert any(text.startswith("Is there an orange cone?") for text in texts)
    assert not any("a orange" in text for text in texts)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("closer_to_camera", thing("blue cone", 0.3, -0.1, 1.05)),
        ("nearest", thing("blue cone", 0.3, -0.1, 1.05)),
        ("left_right", thing("blue cone", -0.29, -0.1, 1.00)),
        # More to the left in space, more to the right in the picture.
        ("left_right", thing("blue cone", -0.40, -0.1, 2.00)),
        ("leftmost", thing("blue cone", -0.29, -0.1, 1.00)),
        ("above_below", thing("blue cone", 0.3, 0.19, 1.00)),
        ("larger", thing("blue cone", 0.3, 0.1, 1.00, size=(0.2, 0.22, 0.2))),
        ("distance", thing("blue cone", -0.20, 0.2, 1.00)),
        ("direction", thing("blue cone", 0.30, 0.2, 1.60)),  # 45 degrees
    ],
)
def test_what_the_eye_cannot_tell_is_not_asked(kind: str, other: ObjectTruth) -> None:
    assert choose(kind, CUBE, other) is None
    assert choose(kind, CUBE, BALL) is not None


@pytest.mark.parametrize(
    ("kind", "think"),
    [
        ("closer_to_camera", "z red cube 1.0, blue sphere 1.5, so {said} is closer."),
        ("left_right", "x red cube -0.3, blue sphere 0.3, so {said}."),
        ("above_below", "y red cube 0.2, blue sphere -0.1, so {said}."),
        ("larger", "size red cube 0.20, blue sphere 0.30, so {said} is larger."),
        ("distance", "red cube to blue sphere: right 0.6, up 0.3, far 0.5, so 0.8 m."),
        ("direction", "red cube to blue sphere: right 0.6, far 0.5, so 2 o'clock."),
        ("count", "red cube, blue sphere, so 2."),
    ],
)
def test_a_chain_measures_then_concludes(kind: str, think: str) -> None:
    question = ask(kind, CUBE, BALL)
    assert question.said == f"{question.verdict} ({question.answer_text})" or "{said}" not in think
    expected = f"<think>{think.format(said=question.said)}</think><answer>{question.answer_text}</answer>"
    assert write_chain(question, ReasoningPath.LOR) == expected


def test_a_detecting_chain_copies_its_own_centres() -> None:
    subjects = (Subject.marked(CUBE, "green"), Subject.marked(BALL, "yellow"))
    kind = KINDS["closer_to_camera"]
    question = kind.ask(subjects, scene_of(CUBE, BALL), STYLE, np.random.default_rng(0))
    assert write_chain(question, ReasoningPath.DTR) == (
        "<detect>Find 2 relevant objects:\n"
        '<3d_box center="-0.30,0.20,1.00">cube (green point)</3d_box>\n'
        '<3d_box center="0.30,-0.10,1.50">sphere (yellow point)</3d_box></detect>'
        "<think>z green point 1.00, yellow point 1.50, so green point "
        f"({question.answer_text}) is closer.</think>"
        f"<answer>{question.answer_text}</answer>"
    )


def test_a_question_that_rounding_ties_gets_no_words_chain() -> None:
    near, far = thing("red cube", -0.3, 0.2, 0.56), thing("blue cone", 0.3, 0.2, 0.64)
    question = ask("closer_to_camera", near, far)
    assert write_chain(question, ReasoningPath.LOR) is None  # both are 0.6
    assert write_chain(question, ReasoningPath.DTR) is not None


def test_a_distance_that_its_tenths_miss_gets_no_chain() -> None:
    # Three steps of 0.14 are written as 0.1: 0.17 in all, where 0.24 is true, and both are 0.2.
    assert write_chain(ask("distance", CUBE, thing("blue cone", -0.16, 0.34, 1.14)), ReasoningPath.LOR) is not None
    # Two steps of 0.15 are written as 0.2: 0.28 in all, where 0.21 is true.
    assert write_chain(ask("distance", CUBE, thing("blue cone", -0.15, 0.35, 1.00)), ReasoningPath.LOR) is None


def test_a_numbered_mark_is_called_as_prompts_call_it() -> None:
    kind = KINDS["depth"]
    question = kind.ask((Subject.marked(BALL, "3"),), scene_of(BALL), STYLE, np.random.default_rng(0))
    assert question.text == "What is the depth of the region 3 in m?"
    assert question.regions[0].label == "region 3"
    chain = write_chain(question, ReasoningPath.DTR)
    assert chain is not None
    assert "sphere (region 3)</3d_box>" in chain


def test_what_is_not_known_is_not_asked() -> None:
    known = scene_of(CUBE, BALL)
    for scene, kind in ((replace(known, vocabulary=()), "exists"), (replace(known, uncountable=EVERY_NAME), "count")):
        assert choose_subjects(KINDS[kind], known, STYLE, np.random.default_rng(0)) == (CUBE, BALL)
        assert choose_subjects(KINDS[kind], scene, STYLE, np.random.default_rng(0)) is None


def test_a_kind_is_not_asked_in_a_voice_in_which_it_has_no_words() -> None:
    with pytest.raises(ValueError, match="kind 'exists' has no full phrasing"):
        KINDS["exists"].phrasing("full")
