"""The training loops over fakes: order, staleness, filtering, failures, stopping and resuming."""

import asyncio
import json
import math
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from actors.config import GroupFilterConfig, ReissueConfig
from actors.loop.filtering import FilterCause, why_filtered
from actors.loop.group_maker import TooManyFailuresError
from actors.loop.step_metrics import step_metrics
from actors.loop.step_record import StepTimer
from flow.group import Group
from flow.score import Failure, Score
from flow.trajectory import VersionSpan
from spatial.json_lines import read_lines
from spatial.sample import ReasoningPath, SpatialSample
from tests.actors.fake_workers import make_requests
from tests.actors.fakes import FakeLearner, FakeRewards, make_trajectory
from tests.actors.loop.rig import Rig


def test_every_batch_holds_each_paths_quota(tmp_path: Path) -> None:
    rig = Rig(tmp_path).run()
    assert len(rig.learner.batches) == 6
    for batch in rig.learner.batches:
        assert [group.path for group in batch] == [ReasoningPath.LOR] * 3 + [ReasoningPath.DTR] * 2


def test_synchronous_training_has_no_staleness_and_is_the_same_in_every_run(tmp_path: Path) -> None:
    first = Rig(tmp_path / "a").run()
    second = Rig(tmp_path / "b")
    second.rollouts._random.seed(99)  # other pauses, so another order of replies
    second.run()
    assert {step["staleness_max"] for step in first.steps} == {0}
    assert first.trained() == second.trained()


@pytest.mark.parametrize("bound", [1, 3])
def test_staleness_reaches_its_bound_and_never_passes_it(tmp_path: Path, bound: int) -> None:
    rig = Rig(tmp_path, max_staleness=bound, num_steps=12).run()
    assert max(step["staleness_max"] for step in rig.steps) == bound


def test_groups_are_trained_in_feed_order_however_long_they_take(tmp_path: Path) -> None:
    rig = Rig(tmp_path, max_staleness=2, num_steps=8).run()
    for path in ("lor", "dtr"):
        indices = [index for batch in rig.trained() for name, index in batch if name == path]
        assert indices == sorted(indices)


def test_every_issued_prompt_is_trained_filtered_or_outstanding_exactly_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path, max_staleness=1).run()
    trained = [pair for batch in rig.trained() for pair in batch]
    assert len(set(trained)) == len(trained)
    state = rig.learner.saved[6]
    for name, lane in state["lanes"].items():  # type: ignore[attr-defined]
        settled = {index for path, index in trained if path == name}
        assert not settled & set(lane["outstanding"])
        assert settled | set(lane["outstanding"]) <= set(range(lane["next_index"]))


def test_stop_and_resume_train_on_what_an_unbroken_run_trains_on(tmp_path: Path) -> None:
    whole = Rig(tmp_path / "whole").run()
    first = Rig(tmp_path / "parts", num_steps=3).run()
    second = Rig(tmp_path / "parts")
    second.trainer.restore(first.learner.saved[3])
    second.run()
    assert first.trained() + second.trained() == whole.trained()


def test_prompts_in_flight_at_a_checkpoint_are_issued_again(tmp_path: Path) -> None:
    first = Rig(tmp_path, max_staleness=2, num_steps=3).run()
    outstanding = first.learner.saved[3]["lanes"]["lor"]["outstanding"]  # type: ignore[index]
    assert outstanding
    second = Rig(tmp_path, max_staleness=2)
    second.trainer.restore(first.learner.saved[3])
    second.run()
    assert {(ReasoningPath.LOR, index) for index in outstanding} <= set(second.rollouts.asked)


def test_a_checkpoint_keeps_how_many_rollout_workers_were_asked_for(tmp_path: Path) -> None:
    rig = Rig(tmp_path, num_steps=2)
    rig.rollouts.size = 3
    assert rig.run().learner.saved[2]["num_rollout_workers"] == 3
    rig.rollouts.size = 0
    assert rig.trainer.state()["num_rollout_workers"] == 0


def test_a_stop_writes_a_checkpoint_and_trains_no_further(tmp_path: Path) -> None:
    rig = Rig(tmp_path, num_steps=1000)

    async def run() -> None:
        running = asyncio.create_task(rig.trainer.run())
        while len(rig.learner.batches) < 2:
            await asyncio.sleep(0.001)
        rig.trainer.stop()
        await asyncio.wait_for(running, 5)

    asyncio.run(run())
    assert rig.trainer.version in rig.learner.saved
    assert rig.trainer.version < 10


def test_a_batch_of_nothing_but_filtered_groups_stops_the_run_and_says_what_to_do(tmp_path: Path) -> None:
    rig = Rig(tmp_path, rewards=FakeRewards(always=1.0), filter=GroupFilterConfig(max_rounds=2))
    with pytest.raises(ExceptionGroup) as caught:
        rig.run()
    assert "mean reward at or above training.filter.max_mean_reward=0.99" in str(caught.value.exceptions[0])
    assert "no reward lies there. Fit training.filter" in str(caught.value.exceptions[0])
    # Two rounds of three LOR and two DTR groups, and what was in flight when the last of them came back.
    assert 2 * (3 + 2) <= len(rig.rollouts.asked) < 3 * (3 + 2)


@pytest.mark.parametrize(
    ("always", "told"),
    [
        (-0.5, r"mean reward at or below training.filter.min_mean_reward=0.2. Rewards were -0.5 … -0.5, .* lies there"),
        (0.0, r"Rewards were 0 … 0, .* no response earned anything. Make the cold start longer"),
        (0.5, r"rewards that are all alike \(training.filter.min_reward_std\). Rewards were 0.5 … 0.5, .* Widen"),
    ],
)
def test_when_all_groups_are_filtered_out_their_rewards_are_told_with_what_the_filter_wants(
    tmp_path: Path, always: float, told: str
) -> None:
    rig = Rig(tmp_path, rewards=FakeRewards(always=always), filter=GroupFilterConfig(max_rounds=1))
    with pytest.raises(ExceptionGroup) as caught:
        rig.run()
    message = str(caught.value.exceptions[0])
    assert "the filter wants group means between 0.2 and 0.99" in message
    assert re.search(told, message), message


class NoGrades(FakeRewards):
    """A grader that always fails."""

    async def score(self, items: list[tuple[str, ReasoningPath, SpatialSample]]) -> list[Score | Failure]:
        return [Failure("score", f"sample {sample.sample_id}: no licence key", 3) for _, _, sample in items]


def test_a_grader_that_always_fails_is_told_with_its_reason_also_in_a_run_of_few_responses(tmp_path: Path) -> None:
    rig = Rig(
        tmp_path, rewards=NoGrades(), groups_per_step={ReasoningPath.LOR: 1}, filter=GroupFilterConfig(max_rounds=1)
    )
    with pytest.raises(ExceptionGroup) as caught:
        rig.run()
    message = str(caught.value.exceptions[0])
    assert "1 had fewer than two scored responses" in message
    assert "4 × score: no licence key" in message


def test_groups_that_are_filtered_out_are_counted_by_cause(tmp_path: Path) -> None:
    rig = Rig(tmp_path, num_steps=8, filter=GroupFilterConfig(min_mean_reward=0.1, max_mean_reward=0.9)).run()
    causes = [f"groups_filtered_{cause}" for cause in ("failed", "low", "high", "alike")]
    assert all(step["groups_filtered"] == sum(step[cause] for cause in causes) for step in rig.steps)
    # Rewards are 0 or 1: the same for all is a mean of 0 or of 1.
    assert sum(step["groups_filtered_low"] for step in rig.steps) > 0
    assert {step["groups_filtered_alike"] for step in rig.steps} == {0}


def test_a_group_that_is_filtered_out_belongs_to_one_step_and_so_does_one_that_is_trained_on(tmp_path: Path) -> None:
    rule = GroupFilterConfig(min_mean_reward=0.3, max_mean_reward=0.7)
    rig = Rig(tmp_path, num_steps=8, max_staleness=1, filter=rule).run()
    recorded = [
        group
        for file in rig.folder.trajectories.glob("*")
        for group in {(row["path"], row["group"], row["trained"]) for row in read_lines(file)}
    ]
    assert len(set(recorded)) == len(recorded)
    assert sum(not trained for _, _, trained in recorded) == sum(step["groups_filtered"] for step in rig.steps) > 0
    assert sum(trained for _, _, trained in recorded) == 8 * (3 + 2)


@pytest.mark.parametrize(
    ("rewards", "cause"),
    [
        ([0.5], FilterCause.FAILED),
        ([0.2, 0.2], FilterCause.LOW),
        ([0.0, 0.3], FilterCause.LOW),
        ([1.0, 0.99], FilterCause.HIGH),
        ([0.5] * 5, FilterCause.ALIKE),
        ([0.1 + 0.2, 0.3, 0.3], FilterCause.ALIKE),
        ([0.5, 0.5, 0.501], None),
    ],
)
def test_a_group_is_filtered_by_its_mean_and_by_its_spread(rewards: list[float], cause: FilterCause | None) -> None:
    (request,) = make_requests(1)
    group = Group(
        index=0,
        sample=request.sample,
        path=request.path,
        trajectories=tuple(make_trajectory(request, 0) for _ in rewards),
        scores=tuple(Score(total=reward, accuracy=reward, format=1.0) for reward in rewards),
    )
    assert why_filtered(group, GroupFilterConfig()) is cause
    if cause is FilterCause.ALIKE:
        assert why_filtered(group, GroupFilterConfig(min_reward_std=None)) is None


def test_a_step_in_which_many_responses_failed_is_reported_with_the_reasons(tmp_path: Path) -> None:
    told: list[str] = []
    rig = Rig(tmp_path, failing=1, num_steps=2, report=told.append).run()
    assert rig.steps[0]["num_responses"] >= 20
    assert rig.steps[0]["num_failures"] * 4 == rig.steps[0]["num_responses"]
    assert re.match(r"step 1: \d+ of \d+ responses failed.*\n  \d+ × rollout: engine on fire", told[0])
    assert told[1].startswith("step 2: ")


def test_a_failures_row_names_its_sample(tmp_path: Path) -> None:
    rig = Rig(tmp_path, failing=1, num_steps=1, max_failure_share=0.5).run()
    rows = [json.loads(line) for line in rig.folder.step_file(1).read_text().splitlines()]
    samples = {(row["path"], row["group"]): row["sample_id"] for row in rows if "failure" not in row}
    failed = [row for row in rows if "failure" in row]
    assert failed
    assert all(row["sample_id"] == samples[row["path"], row["group"]] for row in failed)


def test_a_group_is_trained_on_without_its_failed_members_and_they_are_counted(tmp_path: Path) -> None:
    rig = Rig(tmp_path, failing=1, max_failure_share=0.5).run()
    assert all(len(group.trajectories) == 3 for batch in rig.learner.batches for group in batch)
    assert sum(step["num_failures"] for step in rig.steps) >= 6 * 5


def test_a_group_that_lost_a_member_is_made_anew_with_other_seeds_and_its_failures_stay_in_the_books(
    tmp_path: Path,
) -> None:
    rule = {"on_failure": ReissueConfig(), "max_failure_share": 0.5}
    rig = Rig(tmp_path, failing=1, num_failing_issues=1, **rule).run()
    without = Rig(tmp_path / "b").run()
    assert set(Counter(rig.rollouts.asked).values()) == {2}
    for batch in rig.learner.batches:
        for group in batch:
            assert (len(group.trajectories), len(group.failures)) == (4, 1)
    first, again = (
        next(g for b in r.learner.batches for g in b if (g.path, g.index) == (ReasoningPath.LOR, 0))
        for r in (without, rig)
    )
    assert not {t.response_text for t in first.trajectories} & {t.response_text for t in again.trajectories}
    assert sum(step["groups_reissued"] for step in rig.steps) == len(rig.rollouts.asked) / 2
    assert sum(step["num_failures"] for step in rig.steps) == len(rig.rollouts.asked) / 2
    assert {step["groups_reissued"] for step in without.steps} == {0}


def test_a_group_that_fails_again_and_again_is_at_last_trained_on_without_its_failed_members(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, failing=1, on_failure=ReissueConfig(max_reissues=2), max_failure_share=0.5).run()
    assert set(Counter(rig.rollouts.asked).values()) == {3}
    for batch in rig.learner.batches:
        for group in batch:
            assert (len(group.trajectories), len(group.failures)) == (3, 3)


def test_too_many_failures_stop_the_run_with_the_reasons(tmp_path: Path) -> None:
    rig = Rig(tmp_path, failing=2, num_steps=50)
    with pytest.raises(ExceptionGroup) as caught:
        rig.run()
    error = caught.value.exceptions[0]
    assert isinstance(error, TooManyFailuresError)
    assert "× rollout: engine on fire" in str(error)


def test_a_step_writes_every_metric_that_is_promised(tmp_path: Path) -> None:
    rig = Rig(tmp_path, num_steps=1).run()
    (step,) = rig.folder.read_metrics()
    promised = """step weight_version lor/reward_mean lor/accuracy_mean lor/format_mean dtr/reward_mean
        dtr/accuracy_mean dtr/format_mean dtr/center_mean lor/response_tokens_mean dtr/response_tokens_mean
        groups_trained groups_filtered groups_reissued num_failures staleness_mean staleness_max kl_reference
        rollout_tokens_per_s time/step_s time/wait_s time/rollout_s time/score_s time/update_s time/push_s push_bytes"""
    assert set(promised.split()) <= set(step)
    assert step["groups_trained"] == 5


class OddLearner(FakeLearner):
    """Measures what is no number."""

    async def update(self, groups: list[Group]) -> Mapping[str, float]:
        return {**await super().update(groups), "ess": math.nan, "grad_norm": math.inf, "loss": 0.5}


def test_metrics_hold_what_json_can_and_whoever_is_told_gets_the_same(tmp_path: Path) -> None:
    rig = Rig(tmp_path, num_steps=2, learner=OddLearner()).run()
    for line in rig.folder.metrics.read_text().splitlines():
        assert not re.search("NaN|Infinity", line)
    (first, _) = rig.folder.read_metrics()
    assert (first["ess"], first["grad_norm"], first["loss"]) == (None, None, 0.5)
    assert rig.steps == rig.folder.read_metrics()


def test_staleness_is_counted_by_token() -> None:
    (request,) = make_requests(1)
    spans = [(VersionSpan(3, 6), VersionSpan(5, 2)), (VersionSpan(4, 4),)]
    responses = [
        replace(make_trajectory(request, 0, num_tokens=sum(s.num_tokens for s in of)), version_spans=of) for of in spans
    ]
    scores = (Score(total=1.0, accuracy=1.0, format=1.0),) * 2
    group = Group(index=0, sample=request.sample, path=request.path, trajectories=tuple(responses), scores=scores)
    metrics = step_metrics([group], [], weight_version=5)
    # 6 tokens are two versions old, 4 are one, 2 are new.
    assert metrics["staleness_mean"] == pytest.approx((6 * 2 + 4 * 1) / 12)
    assert metrics["staleness_max"] == 2


def recorded_indices(rig: Rig) -> list[set[int]]:
    """Of each step, the groups in its file."""
    files = sorted(rig.folder.trajectories.glob("*"))
    return [{json.loads(line)["group"] for line in file.read_text().splitlines()} for file in files]


def test_all_groups_are_recorded_or_an_even_share_of_them_the_same_after_a_resume(tmp_path: Path) -> None:
    every = Rig(tmp_path / "every", num_steps=12).run()
    trained = {index for batch in every.trained() for _, index in batch}
    assert trained <= set.union(*recorded_indices(every))
    whole = Rig(tmp_path / "whole", num_steps=12, record_share=0.25).run()
    assert set.union(*recorded_indices(whole)) == {i for i in set.union(*recorded_indices(every)) if i % 4 == 3}
    first = Rig(tmp_path / "parts", num_steps=6, record_share=0.25).run()
    second = Rig(tmp_path / "parts", num_steps=12, record_share=0.25)
    second.trainer.restore(first.learner.saved[6])
    second.run()
    assert recorded_indices(second) == recorded_indices(whole)


def test_what_a_reward_measured_besides_becomes_a_mean_of_its_path() -> None:
    extras = ({"num_steps": 2.0}, {"num_steps": 4.0, "rare": 7.0}, {})
    (request,) = make_requests(1)
    group = Group(
        index=0,
        sample=request.sample,
        path=request.path,
        trajectories=tuple(make_trajectory(request, 0) for _ in extras),
        scores=tuple(Score(total=1.0, accuracy=1.0, format=1.0, extra=extra) for extra in extras),
    )
    metrics = step_metrics([group], [], weight_version=0)
    path, other = (
        (ReasoningPath.LOR, ReasoningPath.DTR)
        if request.path is ReasoningPath.LOR
        else (ReasoningPath.DTR, ReasoningPath.LOR)
    )
    assert (metrics[f"{path}/num_steps_mean"], metrics[f"{path}/rare_mean"]) == (3.0, 7.0)
    assert f"{other}/num_steps_mean" not in metrics


def test_a_step_s_parts_are_timed_and_one_that_raises_is_not_kept() -> None:
    clock = iter([10.0, 11.0, 13.0, 14.0, 14.5, 15.0, 20.0])
    timer = StepTimer(lambda: next(clock))
    with timer.part("learn", "wait"):
        pass
    with timer.part("learn", "update"):
        pass
    with pytest.raises(ValueError, match="no room"), timer.part("publish", "push"):
        raise ValueError("no room")
    assert timer.spans == [("learn", "wait", 11.0, 13.0), ("learn", "update", 14.0, 14.5)]
    assert (timer.seconds("wait"), timer.seconds("update"), timer.seconds("push")) == (2.0, 0.5, 0)
    assert timer.step_s == 10.0


def test_the_timeline_has_each_loop_s_part_of_a_step_in_unix_time(tmp_path: Path) -> None:
    before_s = time.time()
    rig = Rig(tmp_path, num_steps=2).run()
    after_s = time.time()
    for line, step in zip(read_lines(rig.folder.timeline), rig.steps, strict=True):
        spans = {(loop, what): end_s - start_s for loop, what, start_s, end_s in line["spans"]}
        assert list(spans)[:3] == [("learn", "wait"), ("learn", "update"), ("publish", "push")]
        assert {("roll out", "generate")} <= set(spans)
        assert all(before_s - 0.01 <= start_s <= end_s <= after_s + 0.01 for _, _, start_s, end_s in line["spans"])
        for what, key in (("wait", "time/wait_s"), ("update", "time/update_s")):
            assert spans["learn", what] == pytest.approx(step[key], abs=0.002)
        parts_s = sum(step[f"time/{what}_s"] for what in ("wait", "update", "push"))
        assert parts_s <= step["time/step_s"]
