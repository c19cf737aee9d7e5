import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np
import pytest
import torch

from flow.trajectory import VersionSpan
from learner.algorithms.aggregation import ConstantLength, SequenceMean
from learner.algorithms.importance import TokenImportance
from learner.algorithms.policy_losses.gspo import GspoLoss
from learner.algorithms.rejection import SequenceRejection, TokenRejection
from learner.batch import (
    Collator,
    MicroPlan,
    TrainingRow,
    padding_share,
    plan_micro_batches,
    shuffle_into_mini_batches,
    with_equal_head_calls,
)
from learner.config import LearnerConfig
from learner.metrics import TokenMeans, names_by_staleness
from learner.objective import OFF_POLICY, policy_objective, with_effective_sample_size
from tests.learner.conftest import ToyWorld
from tests.learner.toy import sft_rows, training_rows
from vlm.policy import load_policy


def wide_lengths(num_rows: int, seed: int) -> list[int]:
    """Prompts of about 300 tokens, responses from a few tokens to thousands."""
    rng = np.random.default_rng(seed)
    return (rng.integers(250, 350, num_rows) + rng.lognormal(5.5, 1.0, num_rows).clip(5, 4000)).astype(int).tolist()


def padded(lengths: Sequence[int], micro: MicroPlan) -> int:
    return len(micro.rows) * max(lengths[row] for row in micro.rows)


def test_rows_are_cut_in_order_of_length() -> None:
    (plan,) = plan_micro_batches([5, 9, 1, 7, 3, 8, 2], range(7), num_ranks=1, max_rows=3)
    assert plan == [MicroPlan((1, 5, 3), 3), MicroPlan((0, 4, 6), 3), MicroPlan((2,), 1)]


def test_tokens_are_counted_with_padding_and_a_longer_row_is_alone() -> None:
    # 1: 30 tokens are more than 24. 2, 3: 2 × 12 is 24. 4, 0: 10 and 9. 5 is apart: 3 × 10 would be more than 24.
    (plan,) = plan_micro_batches([9, 30, 12, 11, 10, 9], range(6), num_ranks=1, max_rows=None, max_tokens=24)
    assert [micro.rows for micro in plan] == [(1,), (2, 3), (4, 0), (5,)]
    # with at most one row, one row each
    (plan,) = plan_micro_batches([9, 30, 12, 11, 10, 9], range(6), num_ranks=1, max_rows=1, max_tokens=24)
    assert [micro.rows for micro in plan] == [(1,), (2,), (3,), (4,), (0,), (5,)]


def test_rows_of_unlike_length_come_into_different_micro_batches() -> None:
    # 4 × 100 tokens with 50 of padding: 12.5 %; with the fifth row it would be 100 of 500.
    (plan,) = plan_micro_batches([100, 90, 80, 80, 50], range(5), num_ranks=1, max_rows=None, max_tokens=10_000)
    assert [micro.rows for micro in plan] == [(0, 1, 2, 3), (4,)]
    assert padding_share([100, 90, 80, 80, 50], plan) == pytest.approx(50 / 450)


def test_large_micro_batches_are_halved_until_every_rank_has_equally_many() -> None:
    # [1 5] [3 0] [4 6] [2] are four for three ranks: [1 5] and [3 0] are halved.
    plans = plan_micro_batches([5, 9, 1, 7, 3, 8, 2], range(7), num_ranks=3, max_rows=2)
    assert [[micro.rows for micro in plan] for plan in plans] == [[(1,), (4, 6)], [(5,), (0,)], [(3,), (2,)]]


def test_ranks_without_a_row_copy_one_for_nothing() -> None:
    plans = plan_micro_batches([5, 9], range(2), num_ranks=3, max_rows=8)
    assert plans == [[MicroPlan((1,), 1)], [MicroPlan((0,), 1)], [MicroPlan((0,), 0)]]
    assert padding_share([5, 9], chain.from_iterable(plans)) == pytest.approx(5 / 19)
    plans = plan_micro_batches([5, 9, 7], range(3), num_ranks=2, max_rows=1)
    assert plans == [[MicroPlan((1,), 1), MicroPlan((0,), 1)], [MicroPlan((2,), 1), MicroPlan((0,), 0)]]


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 8])
@pytest.mark.parametrize(("max_rows", "max_tokens"), [(4, None), (None, 8192), (16, 16384)])
def test_every_row_is_dealt_once_and_ranks_stay_in_step(
    num_ranks: int, max_rows: int | None, max_tokens: int | None
) -> None:
    for seed, num_rows in enumerate([1, 2, 7, 64, 129, 640]):
        lengths = wide_lengths(2 * num_rows, seed)
        selected = range(0, 2 * num_rows, 2)
        plans = plan_micro_batches(lengths, selected, num_ranks, max_rows, max_tokens)
        assert len({len(plan) for plan in plans}) == 1
        micros = list(chain.from_iterable(plans))
        assert sorted(row for micro in micros for row in micro.rows[: micro.num_real]) == list(selected)
        for micro in micros:
            assert max_rows is None or len(micro.rows) <= max_rows
            assert max_tokens is None or len(micro.rows) == 1 or padded(lengths, micro) <= max_tokens
        if num_rows >= num_ranks:
            assert all(micro.num_real == len(micro.rows) for micro in micros)


def test_ranks_call_the_head_equally_often_at_the_same_time() -> None:
    num_tokens = [1024, 1025, 10, 5000, 3, 2048]
    plans = [[MicroPlan((0, 1), 2), MicroPlan((2,), 1)], [MicroPlan((3,), 1), MicroPlan((4, 5), 1)]]
    first, second = with_equal_head_calls(plans, num_tokens)
    # 2,049 and 5,000 tokens, then 10 and 2,051: that of a copied row counts too. One call takes 1,024.
    assert [plan.num_head_calls for plan in first] == [plan.num_head_calls for plan in second] == [5, 3]
    assert [[(plan.rows, plan.num_real) for plan in own] for own in (first, second)] == [
        [(plan.rows, plan.num_real) for plan in own] for own in plans
    ]
    for num_ranks in (1, 2, 3, 8):
        lengths = wide_lengths(129, num_ranks)
        dealt = with_equal_head_calls(plan_micro_batches(lengths, range(129), num_ranks, None, 8192), lengths)
        for at_once in zip(*dealt, strict=True):
            most = max(sum(lengths[row] for row in plan.rows) for plan in at_once)
            assert {plan.num_head_calls for plan in at_once} == {math.ceil(most / 1024)}


@pytest.mark.parametrize("num_ranks", [1, 4])
@pytest.mark.parametrize(("num_rows", "max_tokens"), [(64, 4096), (64, 16384), (640, 16384)])
def test_padding_is_little_where_lengths_differ_much(num_ranks: int, num_rows: int, max_tokens: int) -> None:
    """Of a cold start's batch, and of a mini-batch of reinforcement learning."""
    for seed in range(10):
        lengths = wide_lengths(num_rows, seed)
        assert max(lengths) > 4 * min(lengths)
        plans = plan_micro_batches(lengths, range(num_rows), num_ranks, None, max_tokens)
        micros = list(chain.from_iterable(plans))
        assert padding_share(lengths, micros) < 0.15
        if num_ranks == 1:
            assert all(padding_share(lengths, [micro]) < 0.15 + 1e-9 for micro in micros)
            shuffled = [MicroPlan(tuple(range(i, i + 8)), 8) for i in range(0, num_rows, 8)]
            assert padding_share(lengths, shuffled) > 0.3


def test_ranks_have_nearly_the_same_number_of_tokens_at_the_same_time() -> None:
    lengths = wide_lengths(640, seed=0)
    plans = plan_micro_batches(lengths, range(640), num_ranks=4, max_rows=None, max_tokens=16384)
    by_rank = [[padded(lengths, micro) for micro in plan] for plan in plans]
    # What a step takes is the largest of each round; were all ranks always busy, it would be the mean.
    slowest = sum(max(at_once) for at_once in zip(*by_rank, strict=True))
    assert slowest < 1.05 * sum(map(sum, by_rank)) / 4


def test_mini_batches_are_a_seeded_partition() -> None:
    parts = shuffle_into_mini_batches(10, 4, seed=(7, 3))
    assert [len(part) for part in parts] == [3, 3, 2, 2]
    assert sorted(row for part in parts for row in part) == list(range(10))
    assert parts == shuffle_into_mini_batches(10, 4, seed=(7, 3)) != shuffle_into_mini_batches(10, 4, seed=(7, 4))
    assert len(shuffle_into_mini_batches(2, 4, seed=(0,))) == 2


def test_tokens_of_a_trajectory_stay_aligned_and_the_end_token_counts(world: ToyWorld) -> None:
    rows = training_rows(world.samples, world.encoder)
    batch = Collator(world.encoder, rows).rl_micro_batch(MicroPlan((1, 0), 2), {0: 0.5, 1: 0.25})
    for index, row in enumerate((rows[1], rows[0])):
        mask = batch.mask[index]
        assert batch.inputs.input_ids[index, mask].tolist() == list(row.response_token_ids)
        assert batch.inputs.input_ids[index, mask][-1] == world.encoder.end_token_id
        assert batch.rollout_logprobs[index, mask].tolist() == pytest.approx(row.trajectory.rollout_logprobs)
        assert batch.advantages[index].sum().item() == pytest.approx(row.advantage * len(row.response_token_ids))
    assert batch.loss_weights[0][batch.mask[0]].unique().tolist() == [0.25]
    assert batch.loss_weights[~batch.mask].count_nonzero() == 0


def test_the_detect_advantage_counts_on_the_first_tokens_only(world: ToyWorld) -> None:
    row = replace(
        training_rows(world.samples, world.encoder)[0], advantage=0.5, detect_advantage=-2.0, num_detect_tokens=3
    )
    batch = Collator(world.encoder, [row]).rl_micro_batch(MicroPlan((0,), 1), {0: 1.0})
    expected = [-1.5] * 3 + [0.5] * (len(row.response_token_ids) - 3)
    assert batch.advantages[batch.mask].tolist() == expected
    assert batch.advantages[~batch.mask].count_nonzero() == 0


def test_each_token_carries_the_version_that_made_it(world: ToyWorld) -> None:
    first, second = training_rows(world.samples[:2], world.encoder)
    num_tokens = len(first.response_token_ids)
    spans = (VersionSpan(3, 2), VersionSpan(4, num_tokens - 2))
    first = replace(first, trajectory=replace(first.trajectory, version_spans=spans))
    batch = Collator(world.encoder, [first, second]).rl_micro_batch(MicroPlan((1, 0), 2), {0: 1.0, 1: 1.0})
    assert batch.weight_versions is not None
    assert batch.weight_versions[1, batch.mask[1]].tolist() == [3, 3] + [4] * (num_tokens - 2)
    assert batch.weight_versions[0, batch.mask[0]].tolist() == [0] * len(second.response_token_ids)


def test_the_versions_of_tokens_become_metrics_by_staleness(world: ToyWorld) -> None:
    """Version 7 is trained. It finds the two first tokens of one row, of version 5, four times as likely as those who
    sampled them, and every other token, of version 7, just as likely."""
    first, second = training_rows(world.samples[:2], world.encoder)
    num_tokens = len(first.response_token_ids)
    spans = (VersionSpan(5, 2), VersionSpan(7, num_tokens - 2)), (VersionSpan(7, len(second.response_token_ids)),)
    rows = [
        replace(row, trajectory=replace(row.trajectory, version_spans=its))
        for row, its in zip((first, second), spans, strict=True)
    ]
    batch = Collator(world.encoder, rows).rl_micro_batch(MicroPlan((1, 0), 2), {0: 1.0, 1: 1.0})
    is_old = batch.mask & (batch.mask.cumsum(1) <= 2) & torch.tensor([[False], [True]])
    logprobs = batch.rollout_logprobs + math.log(4) * is_old
    config = LearnerConfig(importance=TokenImportance(cap=2.0))
    _, statistics = policy_objective(batch, config, None, None, logprobs, torch.zeros_like(logprobs))
    means = TokenMeans(names_by_staleness({5, 7}, weight_version=7), OFF_POLICY)
    means.add(batch.paths, batch.mask, statistics, batch.weight_versions)
    found = with_effective_sample_size(means.means())
    assert {name.split("/")[0] for name in found if name.startswith("staleness_")} == {"staleness_0", "staleness_2"}
    # k3 of a ratio of 4: 4 - 1 - ln 4.
    assert found["staleness_2/kl_rollout_learner"] == pytest.approx(3 - math.log(4))
    assert found["staleness_0/kl_rollout_learner"] == pytest.approx(0.0, abs=1e-6)
    assert (found["staleness_2/importance_truncated"], found["staleness_0/importance_truncated"]) == (1.0, 0.0)
    # Within each the ratios are all alike; together they are not.
    assert [found[f"staleness_{age}/ess"] for age in (0, 2)] == pytest.approx([1.0, 1.0])
    total = num_tokens + len(second.response_token_ids)
    assert found["importance_truncated"] == pytest.approx(2 / total)
    assert found["ess"] == pytest.approx((total + 6) ** 2 / (total * (total + 30)))


def test_padding_is_not_the_end_token(world: ToyWorld) -> None:
    assert world.encoder.pad_token_id != world.encoder.end_token_id


def test_image_tokens_are_those_of_the_trajectory(world: ToyWorld) -> None:
    rows = training_rows(world.samples[:1], world.encoder)
    ids = Collator(world.encoder, rows).inputs(MicroPlan((0,), 1)).input_ids[0].tolist()
    assert ids.count(world.encoder.image_token_id) == 64 * 64 // 32**2


def test_a_row_that_keeps_ranks_in_step_counts_for_nothing(world: ToyWorld) -> None:
    rows = sft_rows(world.samples, world.encoder)
    batch = Collator(world.encoder, rows).micro_batch(MicroPlan((2,), 0), {2: 1.0})
    assert batch.inputs.response_mask.any()
    assert not batch.mask.any()
    assert batch.loss_weights.count_nonzero() == 0


def test_a_trajectory_beside_the_wrong_sample_is_refused(world: ToyWorld) -> None:
    row = training_rows(world.samples[:1], world.encoder)[0]
    with pytest.raises(ValueError, match="sample-1"):
        TrainingRow(world.samples[1], row.trajectory, 0.0)
    with pytest.raises(ValueError, match="finite advantages"):
        TrainingRow(row.sample, row.trajectory, float("nan"))


@pytest.mark.parametrize(
    "config",
    [
        LearnerConfig(),
        LearnerConfig(aggregation=SequenceMean(), rejection=TokenRejection(low=0.5, high=2.0)),
        LearnerConfig(aggregation=ConstantLength(normalizer_tokens=40), policy_loss=GspoLoss()),
        LearnerConfig(rejection=SequenceRejection(low=0.5, high=1.01)),
    ],
)
def test_the_gradient_does_not_depend_on_the_cut(world: ToyWorld, config: LearnerConfig) -> None:
    rows = training_rows(world.samples, world.encoder)
    collator = Collator(world.encoder, rows)
    lengths = [len(row.response_token_ids) for row in rows]
    weights = dict(enumerate(config.aggregation.token_weights(lengths)))
    policy = load_policy(world.model)

    def gradient(num_ranks: int, max_rows: int | None, max_tokens: int | None = None) -> tuple[float, torch.Tensor]:
        policy.zero_grad()
        total, num_rejected = 0.0, 0
        for plan in plan_micro_batches(collator.lengths, range(len(rows)), num_ranks, max_rows, max_tokens):
            for micro in plan:
                batch = collator.rl_micro_batch(micro, weights)
                objective = partial(policy_objective, batch, config, None, None)
                loss, statistics = objective(*policy(batch.inputs))
                loss.backward()
                total += loss.item()
                num_rejected += int(statistics["rejected"][batch.mask].sum())
        assert config.rejection.type == "none" or 0 < num_rejected < sum(lengths)
        return total, torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])

    loss, whole = gradient(num_ranks=1, max_rows=10)
    for cut in [(1, 1), (1, 4), (2, 2), (4, 3), (1, None, 10), (1, None, 170), (2, None, 170), (3, 2, 250)]:
        cut_loss, cut_gradient = gradient(*cut)
        assert cut_loss == pytest.approx(loss, rel=1e-5)
        assert (cut_gradient - whole).norm() < 1e-5 * whole.norm()
