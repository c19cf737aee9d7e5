from collections import Counter

import pytest

from learner.blend import Blend
from learner.config import PointerConfig, SftConfig
from learner.sft import SftBatches
from spatial.sample import ReasoningPath
from tests.learner.conftest import ToyWorld

MEMBERS = {"lor": range(10), "dtr": range(10, 17), "plain": range(17, 20)}
WEIGHTS = {"lor": 5.0, "dtr": 3.0, "plain": 2.0}


def task(member: int) -> str:
    return next(name for name, members in MEMBERS.items() if member in members)


def test_any_beginning_holds_each_task_by_its_share_to_within_one() -> None:
    blend, counts = Blend(MEMBERS, WEIGHTS, seed=0), Counter[str]()
    for position in range(1000):
        counts[task(blend[position])] += 1
        for name, weight in WEIGHTS.items():
            assert abs(counts[name] - (position + 1) * weight / 10) < 1.0
    assert counts == {"lor": 500, "dtr": 300, "plain": 200}


def test_every_epoch_of_a_task_has_each_member_once_in_another_order() -> None:
    blend = Blend(MEMBERS, WEIGHTS, seed=0)
    drawn = [member for member in (blend[position] for position in range(200)) if member in MEMBERS["dtr"]]
    epochs = [drawn[start : start + 7] for start in range(0, 56, 7)]
    assert all(sorted(epoch) == list(MEMBERS["dtr"]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_position_is_the_same_whatever_came_before() -> None:
    in_order = Blend(MEMBERS, WEIGHTS, seed=0)
    stream = [in_order[position] for position in range(100)]
    assert Blend(MEMBERS, WEIGHTS, seed=0)[73] == stream[73]
    assert [Blend(MEMBERS, WEIGHTS, seed=1)[position] for position in range(100)] != stream


def test_a_task_without_weight_is_left_out_and_one_without_members_is_refused() -> None:
    blend = Blend(MEMBERS, {"lor": 1.0, "dtr": 0.0}, seed=0)
    assert {task(blend[position]) for position in range(50)} == {"lor"}
    with pytest.raises(ValueError, match=r"asks for grounding_2d, .* \(there are chains for dtr, lor, plain\)"):
        Blend(MEMBERS, {"lor": 1.0, "grounding_2d": 1.0}, seed=0)


def test_the_cold_start_follows_the_blend(world: ToyWorld) -> None:
    config = SftConfig(rows_per_batch=8, sort_window_batches=2, blend={"lor": 3.0, "dtr": 1.0})
    batches = SftBatches(world.samples, world.encoder, config, seed=0)
    paths = Counter(row.path for step in range(10) for row in batches[step])
    assert paths == {ReasoningPath.LOR: 60, ReasoningPath.DTR: 20}


def test_a_pointer_without_objects_to_point_at_is_refused(world: ToyWorld) -> None:
    with pytest.raises(ValueError, match="no sample lists them"):
        SftBatches(world.samples, world.encoder, SftConfig(pointer=PointerConfig()), seed=0)


def test_a_blend_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sft\.blend: all weights are 0"):
        SftConfig(blend={"lor": 0.0})
