"""The pool that follows its load, on real engines: it grows while the learner waits, to its bound and no further."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import LiveRun

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]

POLICY = [
    "rollout.max_workers=2",
    # Any wait of the learner asks for one more.
    "rollout.scaling={type: queue, max_wait_share: 0, min_busy_share: 0, num_steps: 3, cool_down_s: 1}",
]


@pytest.fixture(scope="module")
def live(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRun]:
    with LiveRun(tmp_path_factory.mktemp("policy") / "run", model, *POLICY) as run:
        yield run


def test_the_pool_grows_when_the_learner_waits_and_says_why(live: LiveRun) -> None:
    live.recovers("the policy grew the pool from 1 to 2", lambda: list(live.states.values()) == ["serving"] * 2)
    assert any("1 → 2: the learner waited" in warning for warning in live.status.warnings), live.status.warnings


def test_the_pool_stays_within_its_bound(live: LiveRun) -> None:
    live.goes_on(steps=12)
    assert len(live.states) <= 2


def test_afterwards_every_prompt_was_used_once_and_nobody_is_left(live: LiveRun) -> None:
    assert live.stop() == []
    live.assert_books_agree()
