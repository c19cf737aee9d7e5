"""What becomes of a run whose grader now and then never returns: that response fails, in words; the run goes on."""

import json
from pathlib import Path

import pytest

from tests.cluster.conftest import LiveRun

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]
GRADER = ("rewards.custom=tests.launch.rewards_for_tests:parity_or_never", "cluster.deadlines.score_s=3")


def test_a_response_on_which_the_grader_hangs_fails_alone_and_is_never_a_reward_of_0(
    model: Path, tmp_path: Path
) -> None:
    with LiveRun(tmp_path / "run", model, *GRADER, "training.max_failure_share=0.5", "training.max_attempts=2") as live:
        live.until(lambda: sum(failed(live)) >= 2, "two responses that were given up")
        live.goes_on()
        assert live.stop() == []
        live.assert_books_agree()

        # Three members were asked for in each group: every one is in the books, as a scored response or as a failure.
        groups = [json.loads(line) for line in (live.folder / "groups.jsonl").read_text().splitlines()]
        assert {group["num_responses"] + group["num_failures"] for group in groups} == {3}
        rows = [
            json.loads(line)
            for file in (live.folder / "trajectories").glob("step-*.jsonl")
            for line in file.read_text().splitlines()
        ]
        reasons = [row["failure"]["reason"] for row in rows if "failure" in row]
        assert len(reasons) == sum(failed(live)) >= 2
        assert all("waited 3 s for reward worker" in reason for reason in reasons)


def failed(live: LiveRun) -> list[int]:
    """How many responses failed, by step."""
    file = live.folder / "metrics.jsonl"
    return [json.loads(line)["num_failures"] for line in file.read_text().splitlines()] if file.exists() else []
