"""Memory that is given back between updates: nobody who computes notices."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from learner.config import DeepSpeedConfig
from learner.engine import LearnerEngine
from learner.host_memory import HostMemory, optimizer_tensors
from tests.learner.conftest import StartEngine, ToyWorld
from tests.learner.test_engine import assert_same_weights, weights_of
from tests.learner.toy import make_config, training_rows


def storage_bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def test_what_is_away_takes_no_memory_and_every_view_finds_its_numbers_again() -> None:
    flat = torch.arange(12.0)
    master, view, moments = nn.Parameter(flat[2:8].view(2, 3)), flat[6:], torch.full((5,), 7.0)
    memory = HostMemory(lambda: [master, moments])
    memory.put_away()
    assert [storage_bytes(tensor) for tensor in (flat, view, moments)] == [0, 0, 0]
    assert memory.num_bytes == (12 + 5) * 4
    memory.put_away()
    memory.fetch()
    assert flat.tolist() == list(range(12))
    assert view.tolist() == [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]
    assert moments.eq(7).all()
    flat[6] = -1.0
    assert view[0] == master[1, 1] == -1.0
    assert not memory.is_away


def test_what_is_away_can_be_read_and_is_away_afterwards() -> None:
    flat = torch.arange(12.0)
    master = nn.Parameter(flat[2:8].view(2, 3).t())
    memory = HostMemory(lambda: [master])
    memory.put_away()
    with memory.readable():
        assert master.tolist() == [[2.0, 5.0], [3.0, 6.0], [4.0, 7.0]]
    assert storage_bytes(master) == 0
    memory.fetch()
    flat[2] = -1.0
    assert master[0, 0] == -1.0


def test_tensors_that_come_later_go_away_with_the_others_and_host_memory_is_kept() -> None:
    master, moments = torch.ones(3), torch.zeros(4)
    tensors = [master]
    memory = HostMemory(lambda: tensors)
    memory.put_away()
    copy = memory._copies[0]
    memory.fetch()
    tensors.insert(0, moments)
    for value in (1.0, 2.0):
        moments.fill_(value)
        memory.put_away()
        assert storage_bytes(moments) == 0
        memory.fetch()
        assert moments.eq(value).all()
    assert memory._copies[1] is copy
    tensors.pop()
    memory.put_away()
    memory.fetch()
    assert [kept.numel() for kept in memory._copies] == [moments.nbytes]


def test_constant_tensors_are_copied_to_the_host_once() -> None:
    weight = torch.ones(3)
    memory = HostMemory(lambda: [weight], is_constant=True)
    memory.put_away()
    memory.fetch()
    weight.zero_()  # against the promise, so that a second copy would show
    memory.put_away()
    memory.fetch()
    assert weight.tolist() == [1.0, 1.0, 1.0]


def test_a_reference_comes_back_although_the_optimizer_had_nothing_to_put_away() -> None:
    weight = torch.ones(3)
    engine = LearnerEngine.__new__(LearnerEngine)  # without DeepSpeed: nothing else is asked
    engine._optimizer_memory = HostMemory(list)
    engine._reference_memory = HostMemory(lambda: [weight], is_constant=True)
    assert engine.put_away() == 12 / 2**30
    assert storage_bytes(weight) == 0
    assert engine.bring_back().keys() == {"time/bring_back_s"}
    assert weight.tolist() == [1.0, 1.0, 1.0]
    assert engine.bring_back() == {}


def layouts() -> Iterator[DeepSpeedConfig]:
    for zero_stage in (0, 1, 2, 3):
        yield DeepSpeedConfig(zero_stage=zero_stage, micro_batch_rows=3)
    yield DeepSpeedConfig(zero_stage=1, micro_batch_rows=3, dtype="bfloat16")
    yield DeepSpeedConfig(zero_stage=3, micro_batch_rows=3, dtype="bfloat16")


@pytest.mark.stack
@pytest.mark.parametrize("layout", layouts(), ids=lambda layout: f"zero{layout.zero_stage}-{layout.dtype}")
def test_updates_between_which_the_optimizer_was_away_give_the_same_bits(
    world: ToyWorld, start_engine: StartEngine, tmp_path: Path, layout: DeepSpeedConfig
) -> None:
    config = make_config(optimizer_steps_per_batch=2).replace(deepspeed=layout)
    rows = training_rows(world.samples, world.encoder)
    resident, moving, resumed = start_engine(config), start_engine(config), start_engine(config)
    moving.put_away()
    for update in range(2):
        expected, found = resident.policy_update(rows), moving.policy_update(rows)
        assert found.pop("time/bring_back_s") > 0
        assert found == expected
        gained_gib = moving.put_away()
        # Masters and two moments at least, of every weight; without masters where weights are float32 and whole.
        num_weights = sum(tensor.numel() for tensor in weights_of(moving).values())
        assert gained_gib * 2**30 > (12 if layout.zero_stage else 8) * num_weights * 0.8
        assert all(storage_bytes(tensor) == 0 for tensor in optimizer_tensors(moving._engine)), update
        assert_same_weights(weights_of(moving), weights_of(resident), atol=0)  # weights can be sent all the while
    moving.save(tmp_path)
    resumed.load(tmp_path)
    resident.policy_update(rows)
    for engine in (moving, resumed):
        engine.policy_update(rows)
        assert_same_weights(weights_of(engine), weights_of(resident), atol=0)
