"""Reward workers on real Ray: a grader that hangs or dies costs one deadline, and is a failure, not a zero."""

import asyncio
import os
import time
from collections.abc import Iterator

import pytest
import ray

from actors.config import DeadlineConfig
from actors.reward_worker import RewardPool
from rewards.config import RewardConfig
from rewards.score import Failure, Score
from spatial.sample import Path, SpatialSample

from .fakes import make_sample

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def grade(text: str, path: Path, sample: SpatialSample) -> Score:
    """A grader with every fault that a grader can have, asked for by the response."""
    if text == "hang":
        time.sleep(3600)
    if text == "die":
        os._exit(139)
    if text == "raise":
        raise ValueError("bad luck")
    return Score(total=0.5, accuracy=0.5, format=0.5)


def score(*texts: str) -> tuple[list[Score | Failure], float]:
    items = [(text, Path.LOR, make_sample("s")) for text in texts]

    async def run() -> tuple[list[Score | Failure], float]:
        pool = RewardPool(
            RewardConfig(custom=f"{__name__}:grade"),
            num_workers=1,
            cpus=0.5,
            deadlines=DeadlineConfig(score_s=1.0, start_s=60),
            max_attempts=2,
        )
        await pool.start()
        started_s = time.monotonic()
        await pool.score(items)
        spent_s = time.monotonic() - started_s
        # The pool still works after whatever happened.
        fine = await pool.score([("fine", Path.LOR, make_sample("s"))])
        assert fine == [Score(total=0.5, accuracy=0.5, format=0.5)]
        return await pool.score(items), spent_s

    return asyncio.run(run())


def test_an_exception_is_a_failure_of_that_response_alone() -> None:
    (good, bad), _ = score("fine", "raise")
    assert good == Score(total=0.5, accuracy=0.5, format=0.5)
    assert isinstance(bad, Failure)
    assert bad.stage == "score"
    assert "bad luck" in bad.reason


def test_a_grader_that_never_returns_is_killed_and_replaced() -> None:
    (outcome,), spent_s = score("hang")
    assert isinstance(outcome, Failure)
    assert "waited 1 s for reward worker" in outcome.reason
    assert spent_s < 60


def test_a_grader_that_dies_is_replaced() -> None:
    (outcome,), _ = score("die")
    assert isinstance(outcome, Failure)
    assert outcome.attempts == 2
