"""Groups stay together, every row counts once, and ranks stay in step."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import pytest

from learner.plan import (
    MicroPlan,
    PassBounds,
    padding_share,
    plan_micro_batches,
    shuffle_into_mini_batches,
    with_equal_head_calls,
)

ROWS_4 = PassBounds(max_rows=4)
TOKENS_8K = PassBounds(max_tokens=8192)
BOUNDS = [
    ROWS_4,
    TOKENS_8K,
    PassBounds(16, 16384),
    PassBounds(max_tokens=8192, is_packed=True),
    PassBounds(24, 16384, is_packed=True),
]


def wide_lengths(num_rows: int, seed: int) -> list[int]:
    """Prompts of about 300 tokens, responses from a few tokens to thousands."""
    rng = np.random.default_rng(seed)
    return (rng.integers(250, 350, num_rows) + rng.lognormal(5.5, 1.0, num_rows).clip(5, 4000)).astype(int).tolist()


def group_lengths(num_groups: int, size: int, seed: int) -> list[int]:
    """Rows of a group lie side by side: one prompt of 700 to 1,500 tokens, and responses of 150 to 550."""
    rng = np.random.default_rng(seed)
    prompts = rng.integers(700, 1500, num_groups).repeat(size)
    return (prompts + rng.integers(150, 550, num_groups * size)).tolist()


def singly(rows: Iterable[int]) -> list[list[int]]:
    return [[row] for row in rows]


def grouped(num_groups: int, size: int) -> list[list[int]]:
    return [list(range(first, first + size)) for first in range(0, num_groups * size, size)]


def rows_of(plans: Sequence[Sequence[MicroPlan]]) -> list[list[tuple[int, ...]]]:
    return [[micro.rows for micro in own] for own in plans]


def num_tokens(lengths: Sequence[int], micro: MicroPlan, bounds: PassBounds = ROWS_4) -> int:
    return bounds.num_tokens([lengths[row] for row in micro.rows])


def test_a_pass_computes_its_padding_too_unless_rows_are_packed() -> None:
    assert PassBounds().num_tokens([5, 3, 4]) == 15
    assert PassBounds(is_packed=True).num_tokens([5, 3, 4]) == 12


def test_single_rows_are_cut_in_order_of_length() -> None:
    (plan,) = plan_micro_batches([5, 9, 1, 7, 3, 8, 2], singly(range(7)), 1, PassBounds(max_rows=3))
    assert plan == [MicroPlan((1, 5, 3), 3), MicroPlan((0, 4, 6), 3), MicroPlan((2,), 1)]


def test_tokens_are_counted_with_padding_and_a_longer_row_is_alone() -> None:
    # 1: 30 tokens are more than 24. 2, 3: 2 × 12 is 24. 4, 0: 10 and 9. 5 is apart: 3 × 10 would be more than 24.
    lengths = [9, 30, 12, 11, 10, 9]
    (plan,) = rows_of(plan_micro_batches(lengths, singly(range(6)), 1, PassBounds(max_tokens=24)))
    assert plan == [(1,), (2, 3), (4, 0), (5,)]
    # with at most one row, one row each
    (plan,) = rows_of(plan_micro_batches(lengths, singly(range(6)), 1, PassBounds(1, 24)))
    assert plan == [(1,), (2,), (3,), (4,), (0,), (5,)]
    # packed: 24 tokens take two rows, whatever their lengths
    (plan,) = rows_of(plan_micro_batches([3, 30, 12, 11, 21, 9], singly(range(6)), 1, PassBounds(None, 24, True)))
    assert plan == [(1,), (4, 0), (2, 3), (5,)]


def test_rows_of_unlike_length_come_into_different_micro_batches() -> None:
    # 4 × 100 tokens with 50 of padding: 12.5 %; with the fifth row it would be 100 of 500.
    lengths, bounds = [100, 90, 80, 80, 50], PassBounds(max_tokens=10_000)
    (plan,) = plan_micro_batches(lengths, singly(range(5)), 1, bounds)
    assert [micro.rows for micro in plan] == [(0, 1, 2, 3), (4,)]
    assert padding_share(lengths, plan, bounds) == pytest.approx(50 / 450)
    # A group is cut there too, and its short row goes with one like it; packed, it stays whole.
    lengths = [100, 90, 80, 80, 50, 48]
    assert rows_of(plan_micro_batches(lengths, [[4, 1, 2, 3, 0], [5]], 1, bounds)) == [[(0, 1, 2, 3), (4, 5)]]
    packed = PassBounds(max_tokens=400, is_packed=True)
    assert rows_of(plan_micro_batches(lengths, [[4, 1, 2, 3, 0], [5]], 1, packed)) == [[(0, 1, 2, 3, 4), (5,)]]
    assert padding_share(lengths, [MicroPlan((0, 1, 2, 3, 4), 5)], packed) == 0


def test_groups_share_a_pass_only_as_wholes() -> None:
    lengths = [7, 6, 9, 9, 8, 2, 5, 5, 4]
    groups = [[0, 1], [2, 3, 4], [5], [6, 7, 8]]
    # Of four rows: the three of the longest group, then not two more; single row 5 has no room beside three and two.
    (plan,) = rows_of(plan_micro_batches(lengths, groups, 1, ROWS_4))
    assert plan == [(2, 3, 4), (6, 7, 8, 5), (0, 1)]


def test_a_group_larger_than_a_pass_is_cut_evenly_and_stays_on_one_rank() -> None:
    lengths = [10] * 10 + [9] * 10
    groups = grouped(2, 10)
    assert rows_of(plan_micro_batches(lengths, groups, 2, ROWS_4)) == [
        [(0, 1, 2, 3), (4, 5, 6), (7, 8, 9)],
        [(10, 11, 12, 13), (14, 15, 16), (17, 18, 19)],
    ]
    # A third group that is cut in two has no rank with room for both pieces.
    lengths, groups = [10] * 18, grouped(3, 6)
    assert rows_of(plan_micro_batches(lengths, groups, 2, ROWS_4)) == [
        [(0, 1, 2), (3, 4, 5), (12, 13, 14)],
        [(6, 7, 8), (9, 10, 11), (15, 16, 17)],
    ]
    # By tokens: 60 take six rows of 10, and two pieces of four rows each are more even than six and two.
    assert rows_of(plan_micro_batches([10] * 8, [list(range(8))], 1, PassBounds(None, 60))) == [
        [(0, 1, 2, 3), (4, 5, 6, 7)]
    ]


def test_large_micro_batches_are_halved_until_every_rank_has_equally_many() -> None:
    # [1 5] [3 0] [4 6] [2] are four for three ranks: [1 5] and [3 0] are halved.
    plans = plan_micro_batches([5, 9, 1, 7, 3, 8, 2], singly(range(7)), 3, PassBounds(max_rows=2))
    assert rows_of(plans) == [[(1,), (2,)], [(5,), (0,)], [(3,), (4, 6)]]
    # Between groups, even if a pass of one group is larger.
    plans = plan_micro_batches([9, 9, 9, 9, 2, 2, 1, 1], [[0, 1, 2, 3], [4, 5], [6, 7]], 3, ROWS_4)
    assert rows_of(plans) == [[(0, 1, 2, 3)], [(4, 5)], [(6, 7)]]
    # A single group is divided, rather than a rank left idle.
    assert rows_of(plan_micro_batches([9, 9, 9, 9], [[0, 1, 2, 3]], 2, ROWS_4)) == [[(0, 1)], [(2, 3)]]


def test_ranks_without_a_row_copy_one_for_nothing() -> None:
    bounds = PassBounds(max_rows=8)
    plans = plan_micro_batches([5, 9], [[0, 1]], 3, bounds)
    assert plans == [[MicroPlan((1,), 1)], [MicroPlan((0,), 1)], [MicroPlan((0,), 0)]]
    assert padding_share([5, 9], chain.from_iterable(plans), bounds) == pytest.approx(5 / 19)
    plans = plan_micro_batches([5, 9, 7], singly(range(3)), 2, PassBounds(max_rows=1))
    assert plans == [[MicroPlan((1,), 1), MicroPlan((0,), 0)], [MicroPlan((2,), 1), MicroPlan((0,), 1)]]


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("group_size", [1, 5])
def test_every_row_is_dealt_once_and_ranks_stay_in_step(num_ranks: int, bounds: PassBounds, group_size: int) -> None:
    for seed, num_groups in enumerate([1, 2, 7, 64, 129]):
        lengths = wide_lengths(2 * group_size * num_groups, seed)
        groups = grouped(2 * num_groups, group_size)[::2]
        plans = plan_micro_batches(lengths, groups, num_ranks, bounds)
        assert plans == plan_micro_batches(lengths, groups, num_ranks, bounds)
        assert len({len(plan) for plan in plans}) == 1
        micros = list(chain.from_iterable(plans))
        assert sorted(row for micro in micros for row in micro.rows[: micro.num_real]) == sorted(chain(*groups))
        assert all(len(micro.rows) == 1 or bounds.has_room([lengths[row] for row in micro.rows]) for micro in micros)
        if num_groups * group_size >= num_ranks:
            assert all(micro.num_real == len(micro.rows) for micro in micros)


@pytest.mark.parametrize("num_ranks", [1, 3])
@pytest.mark.parametrize("bounds", [PassBounds(16), PassBounds(None, 16384), PassBounds(None, 16384, is_packed=True)])
def test_a_group_that_fits_is_in_one_pass(num_ranks: int, bounds: PassBounds) -> None:
    # Four rows of like length: up to 8,200 tokens. With eight of these, each of 24 groups is met once.
    lengths, groups = group_lengths(24, 4, seed=1), grouped(24, 4)
    micros = list(chain.from_iterable(plan_micro_batches(lengths, groups, num_ranks, bounds)))
    met = Counter(group for micro in micros for group in {row // 4 for row in micro.rows})
    alike = [group for group in range(24) if bounds.are_alike([lengths[row] for row in groups[group]])]
    assert len(alike) > 12
    # Some are divided, so that three ranks have equally many passes.
    assert sum(met[group] > 1 for group in alike) <= (0 if num_ranks == 1 else 2)


def test_ranks_call_the_head_equally_often_at_the_same_time() -> None:
    tokens = [1024, 1025, 10, 5000, 3, 2048]
    plans = [[MicroPlan((0, 1), 2), MicroPlan((2,), 1)], [MicroPlan((3,), 1), MicroPlan((4, 5), 1)]]
    first, second = with_equal_head_calls(plans, tokens)
    # 2,049 and 5,000 tokens, then 10 and 2,051: that of a copied row counts too. One call takes 1,024.
    assert [plan.num_head_calls for plan in first] == [plan.num_head_calls for plan in second] == [5, 3]
    assert [[(plan.rows, plan.num_real) for plan in own] for own in (first, second)] == [
        [(plan.rows, plan.num_real) for plan in own] for own in plans
    ]
    for num_ranks in (1, 2, 3, 8):
        lengths = wide_lengths(129, num_ranks)
        dealt = with_equal_head_calls(plan_micro_batches(lengths, grouped(43, 3), num_ranks, TOKENS_8K), lengths)
        for at_once in zip(*dealt, strict=True):
            most = max(sum(lengths[row] for row in plan.rows) for plan in at_once)
            assert {plan.num_head_calls for plan in at_once} == {math.ceil(most / 1024)}


@pytest.mark.parametrize("num_ranks", [1, 4])
@pytest.mark.parametrize(("num_rows", "max_tokens"), [(64, 4096), (64, 16384), (640, 16384)])
@pytest.mark.parametrize("group_size", [1, 8])
def test_padding_is_little_where_lengths_differ_much(
    num_ranks: int, num_rows: int, max_tokens: int, group_size: int
) -> None:
    """Of a cold start's batch, and of a mini-batch of reinforcement learning."""
    bounds = PassBounds(max_tokens=max_tokens)
    for seed in range(10):
        lengths = wide_lengths(num_rows, seed)
        assert max(lengths) > 4 * min(lengths)
        groups = grouped(num_rows // group_size, group_size)
        micros = list(chain.from_iterable(plan_micro_batches(lengths, groups, num_ranks, bounds)))
        assert padding_share(lengths, micros, bounds) < 0.15
        if num_ranks == 1:
            assert all(padding_share(lengths, [micro], bounds) < 0.15 + 1e-9 for micro in micros)
            shuffled = [MicroPlan(tuple(range(i, i + 8)), 8) for i in range(0, num_rows, 8)]
            assert padding_share(lengths, shuffled, bounds) > 0.3


@pytest.mark.parametrize(
    ("lengths", "groups", "bounds"),
    [
        (wide_lengths(640, seed=0), singly(range(640)), PassBounds(max_tokens=16384)),
        (wide_lengths(640, seed=0), grouped(80, 8), PassBounds(max_tokens=16384)),
        (group_lengths(80, 8, seed=0), grouped(80, 8), PassBounds(max_rows=8)),
        (group_lengths(80, 8, seed=0), grouped(80, 8), PassBounds(max_tokens=16384, is_packed=True)),
        # Every group in two pieces.
        (group_lengths(80, 8, seed=0), grouped(80, 8), PassBounds(max_tokens=8192, is_packed=True)),
    ],
)
def test_ranks_have_nearly_the_same_number_of_tokens_at_the_same_time(
    lengths: list[int], groups: list[list[int]], bounds: PassBounds
) -> None:
    plans = plan_micro_batches(lengths, groups, 4, bounds)
    by_rank = [[num_tokens(lengths, micro, bounds) for micro in plan] for plan in plans]
    loads = [sum(own) for own in by_rank]
    assert max(loads) < 1.03 * min(loads)
    # What a step takes is the largest of each round; were all ranks always busy, it would be the mean.
    slowest = sum(max(at_once) for at_once in zip(*by_rank, strict=True))
    assert slowest < 1.08 * sum(loads) / 4


def test_mini_batches_are_a_seeded_partition_of_the_groups() -> None:
    groups = grouped(10, 3)
    parts = shuffle_into_mini_batches(groups, 4, seed=(7, 3))
    assert sorted(len(part) for part in parts) == [2, 2, 3, 3]
    assert sorted(chain(*parts)) == groups
    assert parts == shuffle_into_mini_batches(groups, 4, seed=(7, 3)) != shuffle_into_mini_batches(groups, 4, (7, 4))


def test_mini_batches_have_equal_numbers_of_rows_though_groups_differ() -> None:
    sizes = [8, 8, 7, 6, 5, 3, 2, 1]
    ends = np.cumsum(sizes).tolist()
    groups = [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    parts = shuffle_into_mini_batches(groups, 4, seed=(0,))
    assert sorted(sum(map(len, part)) for part in parts) == [9, 10, 10, 11]


def test_fewer_groups_than_mini_batches_make_one_each() -> None:
    assert sorted(shuffle_into_mini_batches([[0, 1], [2, 3, 4]], 4, seed=(0,))) == [[[0, 1]], [[2, 3, 4]]]
