import itertools

import pytest

from learner.batch import SftRow
from learner.config import SftConfig
from learner.sft import SftBatches
from spatial.sample import ReasoningPath
from tests.learner.conftest import ToyWorld


def batches(world: ToyWorld, seed: int = 0, rows: int = 4, window: int = 2) -> SftBatches:
    return SftBatches(world.samples, world.encoder, SftConfig(rows_per_batch=rows, sort_window_batches=window), seed)


def names(data: SftBatches, step: int) -> list[tuple[str, ReasoningPath]]:
    return [(row.sample.sample_id, row.path) for row in data[step]]


def test_an_epoch_has_every_chain_once(world: ToyWorld) -> None:
    data = batches(world, window=1)
    assert len(data) == 20
    epochs = [[name for step in range(first, first + 5) for name in names(data, step)] for first in (0, 5)]
    for epoch in epochs:
        assert sorted(epoch) == sorted(
            itertools.product((s.sample_id for s in world.samples), (ReasoningPath.LOR, ReasoningPath.DTR))
        )
    assert epochs[0] != epochs[1]


def test_a_step_is_the_same_whatever_came_before(world: ToyWorld) -> None:
    straight = batches(world)
    in_order = [names(straight, step) for step in range(9)]
    assert names(batches(world), 7) == in_order[7]
    assert names(batches(world, seed=1), 7) != in_order[7]


def test_rows_of_a_window_are_sorted_by_length(world: ToyWorld) -> None:
    data = batches(world, rows=5, window=4)
    spans = sorted(
        (min(lengths), max(lengths))
        for lengths in ([len(row.prompt_token_ids) + len(row.response_token_ids) for row in data[i]] for i in range(4))
    )
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(spans))
    assert sorted(name for step in range(4) for name in names(data, step)) == sorted(
        itertools.product((s.sample_id for s in world.samples), (ReasoningPath.LOR, ReasoningPath.DTR))
    )


def test_the_response_is_the_chain_with_its_end(world: ToyWorld) -> None:
    row = batches(world)[0][0]
    assert row.response_token_ids == world.encoder.response_token_ids(row.sample.chains[row.path])
    assert row.response_token_ids[-1] == world.encoder.end_token_id


def test_a_chain_that_stands_for_an_image_is_named(world: ToyWorld) -> None:
    # No file gives such a sample: it is refused when it is read. A tokenizer may have special words of its own.
    path = next(iter(world.samples[0].chains))
    sample = world.samples[0].model_copy(update={"chains": {path: "<think><|image_pad|></think>"}})
    with pytest.raises(ValueError, match=rf"sample {sample.sample_id}: chains\.{path.value} holds <\|image_pad\|>"):
        SftRow.from_chain(sample, path, world.encoder)


def test_samples_without_chains_are_refused(world: ToyWorld) -> None:
    bare = [sample.replace(chains={}) for sample in world.samples]
    with pytest.raises(ValueError, match="no sample has a chain of thought to learn from"):
        SftBatches(bare, world.encoder, SftConfig(), seed=0)
