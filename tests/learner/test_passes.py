"""A batch is cut alike on every rank, and nothing of it is lost."""

from collections import Counter

import pytest

from learner.algorithms.aggregation import TokenMean
from learner.batch import SftRow
from learner.passes import CutBatch, RankPasses
from learner.plan import PassBounds
from tests.learner.conftest import ToyWorld
from tests.learner.toy import sft_rows

MINI_BATCHES = ([7, 0, 3, 9, 5], [1, 8, 2, 6, 4])


@pytest.fixture
def rows(world: ToyWorld) -> list[SftRow]:
    return sft_rows(world.samples, world.encoder)


def cut(world: ToyWorld, rows: list[SftRow], rank: int, world_size: int) -> CutBatch:
    groups = [[[row] for row in selected] for selected in MINI_BATCHES]
    return RankPasses(None, world.encoder, PassBounds(max_rows=2), rank, world_size).cut(rows, groups)


def test_every_rank_cuts_a_batch_alike(world: ToyWorld, rows: list[SftRow]) -> None:
    assert cut(world, rows, 0, 3).mini_batches == cut(world, rows, 2, 3).mini_batches


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_each_row_counts_once_and_ranks_have_equally_many_passes(
    world: ToyWorld, rows: list[SftRow], world_size: int
) -> None:
    for mini_batch, selected in zip(cut(world, rows, 0, world_size).mini_batches, MINI_BATCHES, strict=True):
        assert mini_batch.rows == tuple(selected)
        assert mini_batch.sample_ids == tuple(f"sample-{row}" for row in selected)
        assert len({len(passes) for passes in mini_batch.passes}) == 1
        real = Counter(row for passes in mini_batch.passes for plan in passes for row in plan.rows[: plan.num_real])
        assert real == Counter(selected)


def test_token_weights_are_those_of_the_mini_batch(world: ToyWorld, rows: list[SftRow]) -> None:
    for mini_batch in cut(world, rows, 0, 2).mini_batches:
        lengths = {row: len(rows[row].response_token_ids) for row in mini_batch.rows}
        assert mini_batch.token_weights(TokenMean()) == {row: 1 / sum(lengths.values()) for row in lengths}


def test_the_padding_share_counts_all_ranks(world: ToyWorld, rows: list[SftRow]) -> None:
    batch = cut(world, rows, 1, 2)
    lengths = [len(row.prompt_token_ids) + len(row.response_token_ids) for row in rows]
    padded = sum(
        len(plan.rows) * max(lengths[row] for row in plan.rows)
        for mini_batch in batch.mini_batches
        for passes in mini_batch.passes
        for plan in passes
    )
    assert batch.padding_share == pytest.approx(1 - sum(lengths) / padded)
    assert 0 < batch.padding_share < 1
