from dataclasses import replace
from functools import partial

import pytest
import torch

from learner.batch import (
    Collator,
    MicroPlan,
    TrainingRow,
    plan_micro_batches,
    shuffle_into_mini_batches,
)
from learner.config import AggregationConfig, ConstantLength, LearnerConfig, SequenceMean, TokenMean
from learner.losses import token_weights
from learner.objective import grpo_objective
from tests.learner.conftest import ToyWorld
from tests.learner.toy import sft_rows, training_rows
from vlm.policy import load_policy


def test_every_row_is_dealt_once_and_ranks_stay_in_step() -> None:
    lengths = [5, 9, 1, 7, 3, 8, 2]
    plans = plan_micro_batches(lengths, range(7), num_ranks=3, rows_per_micro_batch=2)
    assert [len(plan) for plan in plans] == [2, 2, 2]
    real = [row for plan in plans for micro in plan for row in micro.rows[: micro.num_real]]
    assert sorted(real) == list(range(7))
    # sorted: 1 5 3 0 4 6 2; the seventh row is alone in the second round, so two ranks copy it for nothing
    assert plans[0] == [MicroPlan((1, 0), 2), MicroPlan((2,), 1)]
    assert plans[1] == [MicroPlan((5, 4), 2), MicroPlan((2,), 0)]


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


@pytest.mark.parametrize("aggregation", [TokenMean(), SequenceMean(), ConstantLength(normalizer_tokens=40)])
def test_the_gradient_does_not_depend_on_the_cut(world: ToyWorld, aggregation: AggregationConfig) -> None:
    rows = training_rows(world.samples, world.encoder)
    collator = Collator(world.encoder, rows)
    lengths = [len(row.response_token_ids) for row in rows]
    weights = dict(enumerate(token_weights(lengths, aggregation)))
    policy = load_policy(world.checkpoint)

    def gradient(num_ranks: int, rows_per_micro_batch: int) -> tuple[float, torch.Tensor]:
        policy.zero_grad()
        total = 0.0
        for plan in plan_micro_batches(collator.lengths, range(len(rows)), num_ranks, rows_per_micro_batch):
            for micro in plan:
                batch = collator.rl_micro_batch(micro, weights)
                objective = partial(grpo_objective, batch, LearnerConfig(aggregation=aggregation), None, None)
                loss, _ = objective(*policy(batch.inputs))
                loss.backward()
                total += loss.item()
        return total, torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])

    loss, whole = gradient(num_ranks=1, rows_per_micro_batch=10)
    for cut in [(1, 1), (1, 4), (2, 2), (4, 3)]:
        cut_loss, cut_gradient = gradient(*cut)
        assert cut_loss == pytest.approx(loss, rel=1e-5)
        torch.testing.assert_close(cut_gradient, whole, rtol=1e-4, atol=1e-6)
