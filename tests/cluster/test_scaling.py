"""What becomes of a run whose pool is scaled up and down while it trains: it goes on, and its books agree."""

from pathlib import Path

import pytest

from tests.cluster.conftest import LiveRun

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_pool_of_one_grows_to_three_shrinks_to_one_to_none_and_comes_back_with_two(
    model: Path, tmp_path: Path
) -> None:
    with LiveRun(tmp_path / "run", model) as live:
        live.scale(3)
        live.recovers("scaled from 1 to 3", lambda: serve(live, 3))
        live.scale(1)
        live.recovers("scaled from 3 to 1", lambda: serve(live, 1))
        live.scale(0)
        live.until(lambda: live.states == {}, "an empty pool")
        live.scale(2)
        live.recovers("scaled from 0 to 2", lambda: serve(live, 2))
        assert len({worker.version for worker in live.status.workers}) == 1
        assert live.stop() == []
        live.assert_books_agree()


def serve(live: LiveRun, count: int) -> bool:
    return list(live.states.values()) == ["serving"] * count
