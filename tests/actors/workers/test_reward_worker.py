"""One reward worker's process, without Ray."""

import json
from pathlib import Path

import pytest

from actors.workers.reward_worker import RewardWorker
from flow.score import Failure, Score
from rewards.config import RewardConfig
from spatial.sample import ReasoningPath, SpatialSample
from tests.actors.fakes import make_sample


def lacking(text: str, path: ReasoningPath, sample: SpatialSample) -> Score:
    return Score(total={"a": 1.0}[text], accuracy=1.0, format=1.0)


def misreading(text: str, path: ReasoningPath, sample: SpatialSample) -> Score:
    return Score(total=json.loads(text), accuracy=1.0, format=1.0)


@pytest.mark.parametrize("name", ["lacking", "misreading"])
def test_a_reward_that_raises_is_a_failure_with_the_line_of_its_fault(name: str) -> None:
    worker = RewardWorker(RewardConfig(custom=f"{__name__}:{name}"))
    worker.load()
    (failure,) = worker.score([("b", ReasoningPath.LOR, make_sample("s"))])
    assert isinstance(failure, Failure)
    number = next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if name in line) + 1
    assert f"({Path(__file__).name}:{number})" in failure.reason
