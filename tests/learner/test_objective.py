"""What a micro-batch's loss is made of, with literal numbers."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from learner.algorithms.aggregation import SequenceMean
from learner.algorithms.importance import NoImportance
from learner.algorithms.policy_losses.gspo import GspoLoss
from learner.algorithms.rejection import NoRejection, RejectionConfig, SequenceRejection, TokenRejection
from learner.batch import Collator, RlMicroBatch
from learner.config import LearnerConfig
from learner.objective import policy_objective
from learner.plan import MicroPlan
from tests.learner.conftest import ToyWorld
from tests.learner.toy import training_rows


@pytest.fixture
def batch(world: ToyWorld) -> RlMicroBatch:
    """Two responses of which three tokens each count, with weight 0.25, advantage 2 and ratios 1, 10, 1 and 1, 1, 1 of
    proximal over rollout probability, where the proximal policy gives every token probability 1."""
    rows = training_rows(world.samples[:2], world.encoder)
    made = Collator(world.encoder, rows).rl_micro_batch(MicroPlan((0, 1), 2), {0: 0.25, 1: 0.25})
    mask = made.mask & (made.mask.cumsum(1) <= 3)
    rollout_logprobs = torch.zeros(mask.shape)
    rollout_logprobs[0, made.mask[0].nonzero()[1]] = -torch.tensor(10.0).log()
    return replace(
        made, mask=mask, loss_weights=0.25 * mask, advantages=2.0 * mask, rollout_logprobs=rollout_logprobs * mask
    )


def loss_and_gradient(
    batch: RlMicroBatch, config: LearnerConfig, reference: Tensor | None = None
) -> tuple[float, list]:
    logprobs = torch.zeros(batch.mask.shape, requires_grad=True)
    loss, _ = policy_objective(batch, config, None, reference, logprobs, torch.zeros(batch.mask.shape))
    loss.backward()
    assert logprobs.grad is not None
    return loss.item(), [row[mask].tolist() for row, mask in zip(logprobs.grad, batch.mask, strict=True)]


@pytest.mark.parametrize(
    ("rejection", "gradient", "rejected"),
    [
        # -advantage · weight is -0.5; the importance weight of the ratio 10 is truncated at 2.
        (NoRejection(), [[-0.5, -1.0, -0.5], [-0.5, -0.5, -0.5]], 0),
        (TokenRejection(high=5.0), [[-0.5, 0.0, -0.5], [-0.5, -0.5, -0.5]], 1),
        # The geometric mean is 10^(1/3) = 2.15.
        (SequenceRejection(high=2.1), [[0.0, 0.0, 0.0], [-0.5, -0.5, -0.5]], 3),
        (SequenceRejection(high=2.2), [[-0.5, -1.0, -0.5], [-0.5, -0.5, -0.5]], 0),
    ],
)
def test_a_rejected_token_adds_nothing_and_changes_nothing_of_the_others(
    batch: RlMicroBatch, rejection: RejectionConfig, gradient: list[list[float]], rejected: int
) -> None:
    config = LearnerConfig(rejection=rejection)
    loss, found = loss_and_gradient(batch, config)
    assert found == [pytest.approx(row) for row in gradient]
    assert loss == pytest.approx(sum(map(sum, gradient)))
    zeros = torch.zeros(batch.mask.shape)
    _, statistics = policy_objective(batch, config, None, None, zeros, zeros)
    assert statistics["rejected"][batch.mask].sum() == rejected


def test_a_rejected_token_keeps_its_penalty(batch: RlMicroBatch) -> None:
    reference = torch.full(batch.mask.shape, 0.5).log()
    config = LearnerConfig(rejection=SequenceRejection(high=2.1), kl_coefficient=1.0)
    _, gradient = loss_and_gradient(batch, config, reference)
    # The gradient of k3 is 1 - reference / policy = 0.5.
    assert gradient[0] == pytest.approx([0.125] * 3)


def test_under_gspo_a_rejected_token_has_no_gradient_and_the_others_keep_theirs(batch: RlMicroBatch) -> None:
    config = LearnerConfig(policy_loss=GspoLoss(), aggregation=SequenceMean(), rejection=TokenRejection(high=5.0))
    _, gradient = loss_and_gradient(batch, config)
    # As under "grpo": -advantage · weight is -0.5.
    assert gradient == [pytest.approx([-0.5, 0.0, -0.5]), pytest.approx([-0.5] * 3)]


def test_under_gspo_a_token_is_credited_with_its_own_span(batch: RlMicroBatch) -> None:
    spans = batch.advantages.clone()
    first = batch.mask.int().argmax(1)
    spans[0, first[0]] = -2.0
    config = LearnerConfig(policy_loss=GspoLoss(), aggregation=SequenceMean(), importance=NoImportance())
    _, gradient = loss_and_gradient(replace(batch, advantages=spans), config)
    assert gradient == [pytest.approx([0.5, -0.5, -0.5]), pytest.approx([-0.5] * 3)]


@pytest.mark.parametrize("coefficient", [0.0, 0.01])
def test_entropies_are_in_the_graph_only_if_they_earn_something(batch: RlMicroBatch, coefficient: float) -> None:
    logprobs = torch.zeros(batch.mask.shape, requires_grad=True)
    entropies = torch.ones(batch.mask.shape, requires_grad=True)
    config = LearnerConfig(entropy_coefficient=coefficient)
    loss, statistics = policy_objective(batch, config, None, None, logprobs, entropies)
    loss.backward()
    assert statistics["entropy"][batch.mask].tolist() == [1.0] * 6
    if coefficient:
        assert entropies.grad is not None
        assert entropies.grad[batch.mask].tolist() == pytest.approx([-0.0025] * 6)
    else:
        assert entropies.grad is None
