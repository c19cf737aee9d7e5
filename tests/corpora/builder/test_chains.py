"""That a template's chain is what the rewards ask for, and concludes what its own numbers say."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from corpora.builder.build import ask_image
from corpora.builder.config import KINDS, BuildConfig, SceneSource
from rewards.config import RewardConfig
from rewards.reward import score_response
from spatial.grammar import parse_response
from spatial.sample import ChoiceAnswer, NumberAnswer, ReasoningPath, SpatialSample
from tests.spatial.questions.oracle import CENTRE_AXIS, winner

from .worlds import random_scene, scene, thing


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[SpatialSample]:
    """Every kind over 60 random images."""
    config = BuildConfig(out=tmp_path_factory.mktemp("out"), source=SceneSource(), questions_per_image=len(KINDS))
    rng = np.random.default_rng(8)
    return [sample for _ in range(60) for sample in ask_image(config, random_scene(rng, 6), {})]


def test_every_template_gets_full_marks_on_every_path(samples: list[SpatialSample]) -> None:
    assert len(samples) > 500
    assert {sample.kind for sample in samples} == set(KINDS)
    for sample in samples:
        assert sample.paths == (
            (ReasoningPath.LOR,) if sample.kind == "count" else (ReasoningPath.LOR, ReasoningPath.DTR)
        )
        assert tuple(sample.chains) == sample.paths
        for path, chain in sample.chains.items():
            score = score_response(chain, path, sample, RewardConfig())
            assert (score.accuracy, score.format) == (1.0, 1.0), chain
            assert score.center == (1.0 if path is ReasoningPath.DTR else None), chain
            assert score.total == pytest.approx(1.0)


def test_a_conclusion_follows_from_the_numbers_as_the_detect_block_writes_them(samples: list[SpatialSample]) -> None:
    num_checked = 0
    for sample in samples:
        if sample.kind not in (*CENTRE_AXIS, "distance", "direction"):
            continue
        centers = [box.center_m for box in parse_response(ReasoningPath.DTR, sample.chains[ReasoningPath.DTR]).boxes]
        match sample.answer:
            case ChoiceAnswer(letter=letter):
                values = [center[CENTRE_AXIS[sample.kind]] for center in centers]
                assert winner(sample.kind, values) == "ABCD".index(letter)
            case NumberAnswer(value=value, unit="m"):
                expected = centers[0][2] if sample.kind == "depth" else math.dist(centers[0], centers[-1])
                assert value == pytest.approx(expected, abs=0.00501)
            case NumberAnswer(value=value):
                right, far = centers[1][0] - centers[0][0], centers[1][2] - centers[0][2]
                assert round(math.degrees(math.atan2(right, far)) / 30) % 12 == value % 12
        num_checked += 1
    assert num_checked > 300


def test_what_a_thought_says_of_two_numbers_is_so(samples: list[SpatialSample]) -> None:
    number = r"-?[0-9]+\.[0-9]{2}"
    signs = set()
    for chain in (chain for sample in samples for chain in sample.chains.values()):
        for one, sign, others in re.findall(rf"({number}) is (less|more) than ((?:{number}(?: and )?)+)", chain):
            signs.add(sign)
            for other in map(float, others.split(" and ")):
                assert float(one) < other if sign == "less" else float(one) > other
    assert signs == {"less", "more"}


def test_both_paths_write_the_same_measurements(samples: list[SpatialSample]) -> None:
    for sample in samples:
        if ReasoningPath.DTR in sample.chains:
            written = [
                sorted(re.findall(r"[0-9]+\.[0-9]{2}", parse_response(path, chain).think or ""))
                for path, chain in sample.chains.items()
            ]
            assert written[0] == written[1]


def test_a_chain_reads_like_this() -> None:
    image = scene(thing("chair", 0, center_m=(-0.71, 0.88, 3.4)), thing("night stand", 1, center_m=(0.02, 1.06, 2.03)))
    config = BuildConfig(out=Path("out"), source=SceneSource(), kinds={"closer_to_camera": 1.0}, seed=5)
    (sample,) = ask_image(config, image, {})
    one, other = sample.regions
    assert sample.question == f"Which is closer to the camera? {one.label} (A) or {other.label} (B)"
    a, b = (one.label, other.label)
    assert (one.name, other.name) == ("night stand", "chair")
    assert sample.chains[ReasoningPath.LOR] == (
        f"<think>{a.capitalize()}: night stand, 2.03 m ahead of the camera. {b.capitalize()}: chair, 3.40 m ahead of "
        f"the camera. 2.03 is less than 3.40, so {a} (A) is closer.</think><answer>A</answer>"
    )
    assert sample.chains[ReasoningPath.DTR] == (
        f'<detect>Find 2 relevant objects:\n<3d_box center="0.02,1.06,2.03">night stand ({a})</3d_box>\n'
        f'<3d_box center="-0.71,0.88,3.40">chair ({b})</3d_box></detect><think>z: {a} 2.03, {b} 3.40. '
        f"2.03 is less than 3.40, so {a} (A) is closer.</think><answer>A</answer>"
    )
