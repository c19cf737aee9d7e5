import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from flow.trajectory import VersionSpan
from learner.algorithms.aggregation import ConstantLength, SequenceMean
from learner.algorithms.importance import TokenImportance
from learner.algorithms.policy_losses.gspo import GspoLoss
from learner.algorithms.rejection import SequenceRejection, TokenRejection
from learner.batch import Collator, TrainingRow, rows_by_group
from learner.config import LearnerConfig
from learner.metrics import TokenMeans, names_by_staleness
from learner.objective import OFF_POLICY, policy_objective, with_effective_sample_size
from learner.plan import MicroPlan, PassBounds, plan_micro_batches
from tests.learner.conftest import ToyWorld
from tests.learner.toy import sft_rows, training_rows
from vlm.policy import load_policy


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
    # Three groups: of 4, 3 and 3 rows, whose lengths differ.
    rows = [
        replace(row, trajectory=replace(row.trajectory, path=rows[0].path, group_id=i % 3))
        for i, row in enumerate(rows)
    ]
    collator = Collator(world.encoder, rows)
    lengths = [len(row.response_token_ids) for row in rows]
    weights = dict(enumerate(config.aggregation.token_weights(lengths)))
    policy = load_policy(world.model)

    def gradient(num_ranks: int, *bounds: Any) -> tuple[float, torch.Tensor]:
        policy.zero_grad()
        total, num_rejected = 0.0, 0
        for plan in plan_micro_batches(collator.lengths, rows_by_group(rows), num_ranks, PassBounds(*bounds)):
            for micro in plan:
                batch = collator.rl_micro_batch(micro, weights)
                objective = partial(policy_objective, batch, config, None, None)
                loss, statistics = objective(*policy(batch.inputs))
                loss.backward()
                total += loss.item()
                num_rejected += int(statistics["rejected"][batch.mask].sum())
        assert config.rejection.type == "none" or 0 < num_rejected < sum(lengths)
        return total, torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])

    loss, whole = gradient(1, 10)
    by_tokens = [(1, None, 10), (1, None, 170), (3, 2, 250), (1, None, 170, True), (3, None, 250, True)]
    for cut in [(1, 1), (1, 4), (3, 3), (4, 3), *by_tokens]:
        cut_loss, cut_gradient = gradient(*cut)
        assert cut_loss == pytest.approx(loss, rel=1e-5)
        assert (cut_gradient - whole).norm() < 1e-5 * whole.norm()
