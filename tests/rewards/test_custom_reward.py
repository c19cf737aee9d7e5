import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from flow.score import Score
from rewards.config import RewardConfig
from rewards.custom import load_reward
from rewards.score_check import ScoreError
from spatial.sample import ReasoningPath, SpatialSample

MakeSample = Callable[..., SpatialSample]

MODULE = """
import numpy
from flow.score import Score
from spatial.sample import ReasoningPath, SpatialSample

def half(text: str, path: ReasoningPath, sample: SpatialSample) -> Score:
    return Score(total=0.5, accuracy=0.5, format=0.0)

def with_an_option(text, path, sample, scale=1.0):
    return Score(total=scale, accuracy=scale, format=scale)

def of_two(text, sample):
    return Score(total=0.5, accuracy=0.5, format=0.0)

def of_four(text, path, sample, config):
    return Score(total=0.5, accuracy=0.5, format=0.0)

async def later(text, path, sample):
    return Score(total=0.5, accuracy=0.5, format=0.0)

def of_numpy(text, path, sample):
    return Score(total=numpy.float32(0.5), accuracy=numpy.bool_(True), format=0)

def poisonous(text, path, sample):
    return Score(total=0.5, accuracy=None, format=0.5)

number = 3
"""


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sr_real_test_rewards.py").write_text(MODULE)
    (tmp_path / "sr_real_test_broken.py").write_text("raise RuntimeError('no licence key')")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_without_a_custom_one_the_built_in_reward_is_loaded(make_sample: MakeSample) -> None:
    reward = load_reward(RewardConfig())
    text = "<think>x</think><answer>A</answer>"
    assert reward(text, ReasoningPath.LOR, make_sample()) == Score(1.0, 1.0, 1.0)
    assert pickle.loads(pickle.dumps(reward))(text, ReasoningPath.LOR, make_sample()) == Score(1.0, 1.0, 1.0)


@pytest.mark.parametrize(("name", "total"), [("half", 0.5), ("with_an_option", 1.0)])
def test_a_custom_reward_is_loaded_by_name(name: str, total: float, make_sample: MakeSample) -> None:
    reward = load_reward(RewardConfig(custom=f"sr_real_test_rewards:{name}"))
    assert reward("", ReasoningPath.LOR, make_sample()).total == total


def test_a_custom_reward_gives_plain_floats_or_fails_by_the_name_of_the_sample(make_sample: MakeSample) -> None:
    reward = load_reward(RewardConfig(custom="sr_real_test_rewards:of_numpy"))
    score = pickle.loads(pickle.dumps(reward))("", ReasoningPath.LOR, make_sample())
    assert score == Score(total=0.5, accuracy=1.0, format=0.0)
    assert {type(value) for value in (score.total, score.accuracy, score.format)} == {float}
    poisonous = load_reward(RewardConfig(custom="sr_real_test_rewards:poisonous"))
    with pytest.raises(ScoreError, match=f"sample {make_sample().sample_id}: the reward's accuracy is None"):
        poisonous("", ReasoningPath.LOR, make_sample())


@pytest.mark.parametrize(
    ("custom", "reason"),
    [
        ("sr_real_no_such_module:half", "the module was not found; start in the folder that holds it"),
        ("sr_real_test_broken:half", "no licence key"),
        ("sr_real_test_rewards:whole", "no plain function 'whole'"),
        ("sr_real_test_rewards:number", "no plain function 'number'"),
        ("sr_real_test_rewards:later", "no plain function 'later'"),
        ("sr_real_test_rewards:of_two", r"but its signature is \(text, sample\)"),
        ("sr_real_test_rewards:of_four", r"but its signature is \(text, path, sample, config\)"),
    ],
)
def test_a_custom_reward_that_cannot_serve_is_refused_by_the_name_of_its_field(custom: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"rewards.custom={custom}: .*{reason}"):
        load_reward(RewardConfig(custom=custom))
