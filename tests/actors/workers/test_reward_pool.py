"""Reward workers on real Ray: what a grader does to one response is a failure of that response, and never a zero."""

import asyncio
import ctypes
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest
import ray

from actors.config import ClusterConfig, DeadlineConfig
from actors.workers.reward_worker import Item, RewardPool
from flow.score import Failure, Score
from rewards.config import RewardConfig
from spatial.sample import ReasoningPath, SpatialSample
from tests.actors.fakes import make_sample

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Its own, also where another Ray is already up on the machine.
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


FINE = Score(total=0.5, accuracy=0.5, format=0.5)

T = TypeVar("T")
_hoard: list[bytes] = []


def grade(text: str, path: ReasoningPath, sample: SpatialSample) -> Score:
    """A grader with every fault that a grader can have, asked for by the response."""
    match text:
        case "hang":
            time.sleep(3600)
        case "crash":
            ctypes.string_at(0)
        case "eat":
            while True:
                _hoard.append(b"x" * 2**20)
        case "eat at once":
            _hoard.append(bytes(2**29))
        case "count":
            return Score(total=float(len(_hoard)), accuracy=0.0, format=0.0)
        case "raise":
            raise ValueError("bad luck")
        case "no score":
            return 0.5  # type: ignore[return-value]
        case "no number":
            return Score(total=math.nan, accuracy=0.5, format=0.5)
    return FINE


def with_pool(use: Callable[[RewardPool], Awaitable[T]]) -> T:
    """What `use` makes of a pool of one worker, which afterwards still works."""
    cluster = ClusterConfig(
        reward_worker_cpus=0.5, reward_memory_gib=0.25, deadlines=DeadlineConfig(score_s=2, start_s=60)
    )

    async def run() -> T:
        pool = RewardPool(RewardConfig(custom=f"{__name__}:grade"), cluster, max_attempts=2)
        await pool.start()
        result = await use(pool)
        async with asyncio.timeout(60):
            assert await pool.score(items("fine")) == [FINE]
        return result

    return asyncio.run(run())


def items(*texts: str) -> list[Item]:
    return [(text, ReasoningPath.LOR, make_sample("s")) for text in texts]


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        ("hang", "waited 2 s for reward worker: scores of 1 responses to s"),
        ("crash", "died"),
        ("eat", "scoring took more than cluster.reward_memory_gib=0.25"),
        ("eat at once", "scoring took more than cluster.reward_memory_gib=0.25"),
        ("raise", "ValueError: bad luck"),
        ("no score", "sample s: the reward returned 0.5, not a Score"),
        ("no number", "sample s: the reward's total is nan"),
    ],
)
def test_a_response_that_its_grader_cannot_bear_fails_alone(poison: str, reason: str) -> None:
    first, second, bad, last = with_pool(lambda pool: pool.score(items("fine", "fine too", poison, "fine as well")))
    assert [first, second, last] == [FINE] * 3
    assert isinstance(bad, Failure)
    assert (bad.stage, bad.attempts) == ("score", 2)
    assert reason in bad.reason


def test_what_a_grader_took_is_gone_with_its_worker() -> None:
    eaten, count = with_pool(lambda pool: pool.score(items("eat", "count")))
    assert isinstance(eaten, Failure)
    assert count == Score(total=0.0, accuracy=0.0, format=0.0)


def test_a_worker_serves_again_after_a_call_for_whose_scores_nobody_waits_any_more() -> None:
    async def give_up(pool: RewardPool) -> bool:
        asked = asyncio.create_task(pool.score(items("hang")))
        await asyncio.sleep(0.2)
        return asked.cancel()

    assert with_pool(give_up)
