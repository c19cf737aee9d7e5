"""The scaling policy: literal loads, and a learner and a pool of which only the times are simulated."""

import random

import pytest
from pydantic import ValidationError

from actors.pool.member import State
from actors.pool.scaling import Change, QueueScaling, StepLoad, first_size, follow_load, make_scaling
from launch.settings.config import ConfigError, load_config
from rollout.config import QueueScalingConfig, RolloutConfig
from tests.actors.fake_workers import make_pool

CONFIG = QueueScalingConfig(max_wait_share=0.1, min_busy_share=0.75, num_steps=3, cool_down_s=100)
STARVED = StepLoad(wait_share=0.4, busy_share=1.0)
SATED = StepLoad(wait_share=0.0, busy_share=0.3)
BALANCED = StepLoad(wait_share=0.05, busy_share=0.9)


def sizes(loads: list[StepLoad], size: int, step_s: float = 50.0, config: QueueScalingConfig = CONFIG) -> list[int]:
    """The pool's size after each step."""
    scaling = QueueScaling(config, min_workers=0, max_workers=4)
    seen = []
    for step, load in enumerate(loads):
        change = scaling.decide(step * step_s, size, False, load)
        size = change.num_workers if change else size
        seen.append(size)
    return seen


def test_the_pool_grows_by_one_after_three_steps_with_a_learner_that_waits_and_no_further_than_allowed() -> None:
    # The first step only tells the size; 100 s and three steps lie between two changes.
    assert sizes([STARVED] * 12, size=2) == [2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4]


def test_it_shrinks_when_one_worker_fewer_would_rest_too_and_never_to_nothing() -> None:
    assert sizes([SATED] * 9, size=3) == [3, 3, 3, 2, 2, 2, 1, 1, 1]
    # 0.3 of the time with two are 0.6 with one; 0.4 would be 0.8.
    assert sizes([StepLoad(0.0, 0.4)] * 9, size=2) == [2] * 9


def test_one_step_that_says_something_else_begins_a_new_count() -> None:
    assert sizes([STARVED, STARVED, STARVED, BALANCED, STARVED, STARVED, STARVED], size=2)[-2:] == [2, 3]


def test_two_changes_lie_a_cool_down_apart() -> None:
    assert sizes([STARVED] * 12, size=1, step_s=10) == [1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    assert sizes([STARVED] * 14, size=1, step_s=10)[-1] == 3


def test_engines_that_rest_while_the_learner_waits_are_not_too_few() -> None:
    assert sizes([StepLoad(wait_share=0.8, busy_share=0.5)] * 9, size=2) == [2] * 9


def test_a_step_in_which_a_worker_was_starting_does_not_count() -> None:
    scaling = QueueScaling(CONFIG, 0, 4)
    answers = [scaling.decide(50.0 * step, 2, step == 3, STARVED) for step in range(7)]
    assert [answer is not None for answer in answers] == [False] * 3 + [False, False, False, True]


def test_after_a_change_by_hand_the_policy_continues_from_there() -> None:
    scaling = QueueScaling(CONFIG, 0, 8)
    for step in range(3):
        assert scaling.decide(50.0 * step, 2, False, STARVED) is None
    answers = [scaling.decide(50.0 * step, 6, False, SATED) for step in range(3, 7)]
    assert answers[:3] == [None] * 3
    assert answers[3] is not None
    assert answers[3].num_workers == 5


def test_a_change_tells_its_reason() -> None:
    scaling = QueueScaling(CONFIG, 0, 4)
    changes = [scaling.decide(50.0 * step, 2, False, STARVED) for step in range(4)]
    reason = "rollout workers 2 → 3: the learner waited for groups in 40%, 40%, 40% of the last steps' time"
    assert changes[-1] == Change(3, reason)


@pytest.mark.parametrize("work", [0.3, 0.8, 1.0, 1.1, 1.5, 2.0, 2.2, 3.1, 3.9, 6.0])
@pytest.mark.parametrize("start", [1, 4])
def test_it_comes_to_rest_at_a_size_that_keeps_up_with_the_learner(work: float, start: int) -> None:
    """Generation takes `work` divided by the workers, give or take a fifth; an update takes 1."""
    noise = random.Random(0)
    scaling = QueueScaling(QueueScalingConfig(), 0, 8)
    size, now_s, seen = start, 0.0, []
    for _ in range(400):
        generation = work / size * noise.lognormvariate(0, 0.2)
        step = max(1.0, generation)
        now_s += 100 * step
        change = scaling.decide(now_s, size, False, StepLoad((step - 1) / step, generation / step))
        size = change.num_workers if change else size
        seen.append(size)
    assert len(set(seen[200:])) == 1
    assert work / size < 1.2
    assert size == 1 or work / (size - 1) > 0.7


def test_the_load_is_read_from_a_steps_metrics() -> None:
    load = StepLoad.of({"time/step_s": 8.0, "time/wait_s": 2.0, "time/rollout_s": 6.0})
    assert load == StepLoad(wait_share=0.25, busy_share=0.75)


@pytest.mark.anyio
async def test_a_pool_follows_its_load_once_its_workers_serve() -> None:
    pool, _ = make_pool()
    await pool.start(1)
    scaling = make_scaling(RolloutConfig(scaling=CONFIG.replace(cool_down_s=0.001)), 4)
    assert scaling is not None
    starved = {"time/step_s": 1.0, "time/wait_s": 0.5, "time/rollout_s": 1.0}
    said: list[str] = []
    for _ in range(6):
        follow_load(scaling, pool, starved, said.append)
    assert pool.size == 1  # loaded, but without weights
    pool.roster.serve(pool.roster.loaded, 0)
    for _ in range(3):
        assert pool.size == 1
        follow_load(scaling, pool, starved, said.append)
    assert (pool.size, len(said)) == (2, 1)
    assert {member.state for member in pool.status()} == {State.SERVING, State.STARTING}
    await pool.shutdown()


def test_a_pool_of_fixed_size_has_no_policy_and_synchronous_training_none_that_works() -> None:
    assert make_scaling(RolloutConfig(), 8) is None
    with pytest.raises(ConfigError, match=r"training\.max_staleness=0: the learner then waits"):
        load_config("demo", ["rollout.scaling={type: queue}"])
    config = load_config("demo", ["rollout.scaling={type: queue}", "training.max_staleness=1"])
    assert config.rollout.scaling == QueueScalingConfig()
    with pytest.raises(ValidationError):
        QueueScalingConfig(max_wait_share=1.0)


@pytest.mark.parametrize(("asked", "size"), [(0, 1), (1, 1), (3, 3), (9, 4), (None, 2)])
def test_a_resumed_run_begins_with_as_many_workers_as_it_had_within_its_bounds(asked: int | None, size: int) -> None:
    config = RolloutConfig(num_workers=2, min_workers=1, max_workers=4)
    assert first_size(config, 4, {} if asked is None else {"step": 5, "num_rollout_workers": asked}) == size
