"""Results in order, never too many at once; an exception where its result would have come; no thread left behind."""

import threading
from collections.abc import Iterator

import pytest
import torch

from learner.ahead import made_ahead
from learner.passes import RankPasses
from learner.plan import PassBounds
from spatial.sample import BadImageError
from tests.learner.conftest import ToyWorld
from tests.learner.toy import sft_rows
from vlm.policy import PolicyBatch

TIMEOUT_S = 10.0


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")}


@pytest.mark.parametrize("num_ahead", [0, 1, 2])
@pytest.mark.parametrize("num_items", [0, 1, 5])
def test_results_come_in_order(num_ahead: int, num_items: int) -> None:
    with made_ahead(lambda item: item * item, range(num_items), num_ahead) as made:
        assert list(made) == [item * item for item in range(num_items)]
    assert threads() == set()


@pytest.mark.parametrize("num_ahead", [1, 2])
def test_as_many_are_made_ahead_as_allowed_while_one_is_in_use(num_ahead: int) -> None:
    begun = [threading.Event() for _ in range(6)]

    def make(item: int) -> str:
        begun[item].set()
        return threading.current_thread().name

    with made_ahead(make, range(6), num_ahead) as made:
        for in_use, name in enumerate(made):
            assert name.startswith("ahead")
            last = min(in_use + num_ahead, 5)
            assert begun[last].wait(TIMEOUT_S)
            assert [event.is_set() for event in begun] == [item <= last for item in range(6)]


@pytest.mark.parametrize("num_ahead", [0, 1, 2])
def test_an_exception_comes_after_all_results_before_it(num_ahead: int) -> None:
    def make(item: int) -> int:
        if item == 2:
            raise BadImageError("sample s2")
        return item

    def used() -> Iterator[int]:
        with made_ahead(make, range(5), num_ahead) as made:
            yield from made

    results = used()
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(BadImageError, match="sample s2"):
        next(results)
    assert threads() == set()


def test_the_thread_ends_and_makes_no_more_when_its_user_fails() -> None:
    made_items: list[int] = []

    def fail() -> None:
        with made_ahead(lambda item: made_items.append(item), range(100), 2) as made:
            next(made)
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert threads() == set()
    assert len(made_items) <= 3


class Engine:
    """What `RankPasses` asks of DeepSpeed's engine."""

    device = torch.device("cpu")


@pytest.mark.parametrize("num_ahead", [None, 0, 2])
def test_passes_get_the_same_inputs_however_many_are_built_ahead(world: ToyWorld, num_ahead: int | None) -> None:
    rows = sft_rows(world.samples, world.encoder)
    passes = RankPasses(Engine(), world.encoder, PassBounds(max_rows=3), 0, 1, num_ahead)
    batch = passes.cut_singly(rows)
    plans = batch.mini_batches[0].passes[0]
    expected = [batch.collator.inputs(plan) for plan in plans]
    names: list[str] = []

    def build(plan: object) -> PolicyBatch:
        names.append(threading.current_thread().name)
        return batch.collator.inputs(plan)  # type: ignore[arg-type]

    with passes.prepared(build, plans) as prepared:
        for mine, theirs in zip(prepared, expected, strict=True):
            assert torch.equal(mine.input_ids, theirs.input_ids)
            assert torch.equal(mine.pixel_values, theirs.pixel_values)
    # On a CPU nothing is built ahead unless the config says so.
    assert all(name.startswith("ahead") for name in names) == (num_ahead == 2)


def test_an_error_of_the_images_of_a_pass_names_its_samples(world: ToyWorld) -> None:
    lost = world.samples[1].replace(images=(world.samples[1].images[0].replace(sha256="0" * 64),))
    rows = sft_rows([world.samples[0], lost, world.samples[2]], world.encoder)
    passes = RankPasses(Engine(), world.encoder, PassBounds(max_rows=1), 0, 1, num_ahead=1)
    batch = passes.cut_singly(rows)
    plans = batch.mini_batches[0].passes[0]
    seen: list[int] = []

    def use() -> None:
        with passes.prepared(batch.collator.inputs, plans) as prepared:
            seen.extend(len(inputs.input_ids) for inputs in prepared)

    with pytest.raises(BadImageError, match=r"sample sample-1: images\.0") as caught:
        use()
    assert caught.value.__notes__ == ["These are the images of a pass with the samples sample-1"]
    assert len(seen) == [plan.rows for plan in plans].index((1,))
