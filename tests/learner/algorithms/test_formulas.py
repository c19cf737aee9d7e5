"""Every formula with literal numbers. Rows are written as [token, token, …]; ratios are given, not log-ratios."""

import math

import pytest
import torch
from torch import Tensor

from learner.algorithms.aggregation import ConstantLength, SequenceMean, TokenMean
from learner.algorithms.importance import NoImportance, SequenceImportance, TokenImportance
from learner.algorithms.policy_losses.grpo import GrpoLoss
from learner.algorithms.policy_losses.gspo import GspoLoss
from learner.algorithms.ratios import effective_sample_size, kl_k1, kl_k3
from learner.algorithms.rejection import NoRejection, SequenceRejection, TokenRejection


def logs(*rows: list[float]) -> Tensor:
    return torch.tensor(rows).log()


def ones(*rows: list[float]) -> Tensor:
    return torch.ones(len(rows), len(rows[0]), dtype=torch.bool)


def grpo(ratio: float, advantage: float, config: GrpoLoss | None = None) -> float:
    loss, _ = (config or GrpoLoss()).of_tokens(logs([ratio]), logs([1.0]), torch.tensor([[advantage]]), ones([1.0]))
    return loss.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (1.0, 2.0, -2.0),
        (1.2, 1.0, -1.2),  # inside [0.8, 1.3]
        (1.5, 1.0, -1.3),  # clip high
        (0.5, 1.0, -0.5),  # a good token that became rarer is never clipped
        (0.5, -1.0, 0.8),  # clip low
        (1.5, -1.0, 1.5),  # a bad token that became likelier is not clipped …
        (10.0, -1.0, 3.0),  # … up to the dual clip
        (10.0, 1.0, -1.3),
    ],
)
def test_grpo_clips_low_high_and_dual(ratio: float, advantage: float, loss: float) -> None:
    assert grpo(ratio, advantage) == pytest.approx(loss, rel=1e-5)


def test_without_dual_clip_the_loss_of_a_bad_token_has_no_bound() -> None:
    assert grpo(10.0, -1.0, GrpoLoss(dual_clip=None)) == pytest.approx(10.0, rel=1e-5)


def test_a_clipped_token_has_no_gradient() -> None:
    logprobs = logs([1.5, 1.1]).requires_grad_()
    loss, _ = GrpoLoss().of_tokens(logprobs, logs([1.0, 1.0]), torch.ones(1, 2), ones([1.0, 1.0]))
    loss.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[0.0, pytest.approx(-1.1, rel=1e-5)]]


def test_clip_fractions_count_each_kind_of_clipping() -> None:
    ratios, advantages = [1.5, 1.1, 0.5, 10.0], torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    _, statistics = GrpoLoss().of_tokens(logs(ratios), logs([1.0] * 4), advantages, ones(ratios))
    assert statistics["clip_fraction"].tolist() == [[1, 0, 1, 0]]
    assert statistics["dual_clip_fraction"].tolist() == [[0, 0, 0, 1]]


def test_gspo_has_one_ratio_a_response_and_ignores_padding() -> None:
    # log-ratios ln 4 and ln 1 over two tokens: exp(mean) = 2; the third token is padding
    mask = torch.tensor([[True, True, False]])
    config = GspoLoss(clip_low=0.1, clip_high=0.5)
    loss, statistics = config.of_tokens(logs([4.0, 1.0, 9.0]), logs([1.0, 1.0, 1.0]), torch.ones(1, 3), mask)
    assert statistics["ratio"][0, :2].tolist() == pytest.approx([2.0, 2.0])
    assert loss[0, :2].tolist() == pytest.approx([-1.5, -1.5])


def gspo_by_hand(logprobs: Tensor, base: Tensor, advantages: Tensor, mask: Tensor, low: float, high: float) -> Tensor:
    """Plain GSPO, response by response in float64, for one advantage a response: eq. 5 of arXiv 2507.18071, negated."""
    losses = []
    for row in range(len(logprobs)):
        real = mask[row]
        ratio = (logprobs[row][real].double() - base[row][real].double()).mean().exp()
        advantage = advantages[row][real][0].double()
        losses.append(-torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage))
    return torch.stack(losses).mean()


def test_gspo_with_one_advantage_a_response_has_the_loss_and_gradient_of_its_paper() -> None:
    torch.manual_seed(0)
    mask = torch.arange(6) < torch.tensor([[6], [3], [1], [4]])
    base = torch.randn(4, 6) * mask
    logprobs = ((base + 0.2 * torch.randn(4, 6)) * mask).requires_grad_()
    advantages = torch.tensor([[1.5], [-0.5], [0.7], [-2.0]]).expand(4, 6) * mask
    config = GspoLoss(clip_low=0.005, clip_high=0.005)
    loss, statistics = config.of_tokens(logprobs, base, advantages, mask)
    weights = torch.tensor(SequenceMean().token_weights([6, 3, 1, 4]))[:, None] * mask
    mine = (weights * loss).sum()
    (found,) = torch.autograd.grad(mine, logprobs)
    expected = gspo_by_hand(logprobs, base, advantages, mask, 0.005, 0.005)
    (wanted,) = torch.autograd.grad(expected, logprobs)
    assert mine.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-8)
    assert 0 < statistics["clip_fraction"][mask].mean() < 1


def test_gspo_gives_each_token_the_gradient_of_its_own_advantage() -> None:
    # Ratio 2 for the whole response: the gradient at a token is -advantage · 2, whatever the others' advantages are.
    logprobs = logs([4.0, 1.0]).requires_grad_()
    advantages = torch.tensor([[1.0, -3.0]])
    config = GspoLoss(clip_low=0.9, clip_high=5.0)
    loss, _ = config.of_tokens(logprobs, logs([1.0, 1.0]), advantages, ones([1.0, 1.0]))
    assert loss.tolist() == [pytest.approx([-2.0, 6.0])]
    loss.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [pytest.approx([-2.0, 6.0])]


def test_gspo_gives_a_masked_token_no_gradient() -> None:
    logprobs = logs([1.0, 1.0, 1.0]).requires_grad_()
    loss, _ = GspoLoss().of_tokens(logprobs, logs([1.0] * 3), torch.ones(1, 3), ones([1.0] * 3))
    loss.masked_fill(torch.tensor([[False, True, False]]), 0.0).sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [pytest.approx([-1.0, 0.0, -1.0])]


def test_gspo_spreads_the_gradient_evenly_over_the_response() -> None:
    logprobs = logs([1.0, 1.0]).requires_grad_()
    loss, _ = GspoLoss().of_tokens(logprobs, logs([1.0, 1.0]), torch.ones(1, 2), ones([1.0, 1.0]))
    (loss / 2).sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[pytest.approx(-0.5), pytest.approx(-0.5)]]


def test_token_importance_is_truncated_above_only() -> None:
    ratios = [0.1, 1.5, 7.0]
    weights, raw = TokenImportance(cap=2.0).weights(logs(ratios), logs([1.0] * 3), ones(ratios))
    assert weights.tolist() == [pytest.approx([0.1, 1.5, 2.0])]
    assert raw.tolist() == [pytest.approx(ratios)]


def test_sequence_importance_is_the_product_over_the_response() -> None:
    mask = torch.tensor([[True, True, False]])
    weights, raw = SequenceImportance(cap=1.2).weights(logs([0.5, 3.0, 9.0]), logs([1.0, 1.0, 1.0]), mask)
    assert weights.tolist() == [pytest.approx([1.2] * 3)]
    assert raw.tolist() == [pytest.approx([1.5] * 3)]


def test_no_importance_weighs_one_and_still_tells_the_ratios() -> None:
    weights, raw = NoImportance().weights(logs([0.5, 3.0]), logs([1.0, 1.0]), ones([1.0, 1.0]))
    assert weights.tolist() == [[1.0, 1.0]]
    assert raw.tolist() == [pytest.approx([0.5, 3.0])]


def test_importance_carries_no_gradient() -> None:
    proximal = logs([0.5]).requires_grad_()
    weights, _ = TokenImportance().weights(proximal, logs([1.0]), ones([1.0]))
    assert not weights.requires_grad


def test_token_rejection_leaves_out_tokens_beyond_either_bound() -> None:
    ratios = [0.4, 0.5, 1.0, 4.0, 4.1]
    accepted = TokenRejection(low=0.5, high=4.0).accepted(logs(ratios), logs([1.0] * 5), ones(ratios))
    assert accepted.tolist() == [[False, True, True, True, False]]


def test_sequence_rejection_leaves_out_whole_responses_by_their_geometric_mean() -> None:
    # √(4 · 1) = 2, √(9 · 0.25) = 1.5, √(0.25 · 0.25) = 0.25; the third token is padding
    ratios = [[4.0, 1.0, 9.0], [9.0, 0.25, 9.0], [0.25, 0.25, 9.0]]
    mask = torch.tensor([[True, True, False]] * 3)
    config = SequenceRejection(low=0.5, high=1.8)
    accepted = config.accepted(logs(*ratios), logs(*[[1.0] * 3] * 3), mask)
    assert accepted[mask].tolist() == [False, False, True, True, False, False]


def test_without_rejection_every_token_is_accepted() -> None:
    assert NoRejection().accepted(logs([1e-6, 1e6]), logs([1.0, 1.0]), ones([1.0, 1.0])).all()


def test_a_ratio_beyond_all_bounds_stays_finite() -> None:
    weights, raw = TokenImportance(cap=2.0).weights(torch.tensor([[0.0]]), torch.tensor([[-200.0]]), ones([1.0]))
    assert weights.item() == 2.0
    assert math.isfinite(raw.item())


def test_k3_is_r_minus_one_minus_log_r() -> None:
    # r = reference / policy = 2: 2 - 1 - ln 2
    assert kl_k3(logs([0.25]), logs([0.5])).item() == pytest.approx(1 - math.log(2), abs=1e-6)
    assert kl_k3(logs([0.3]), logs([0.3])).item() == 0


def test_the_gradient_of_k3_pulls_towards_the_reference() -> None:
    logprobs = logs([0.25]).requires_grad_()
    kl_k3(logprobs, logs([0.5])).sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.item() == pytest.approx(1 - 2)  # 1 - r


@pytest.mark.parametrize("nats", [19.0, 21.0, 200.0, 1e4])
def test_k3_pulls_a_token_back_however_far_away_it_is(nats: float) -> None:
    # The policy gives e^-nats of the reference's probability: 1 - r, which stays at 1 - e^20 beyond 20 nats.
    below = torch.tensor([[-nats]], requires_grad=True)
    value = kl_k3(below, torch.zeros(1, 1))
    value.sum().backward()
    assert math.isfinite(value.item())
    assert below.grad is not None
    assert below.grad.item() == pytest.approx(1 - math.exp(min(nats, 20.0)), rel=1e-4)


@pytest.mark.parametrize("nats", [21.0, 200.0, 1e4])
def test_k3_pulls_a_token_down_however_far_above_the_reference_it_is(nats: float) -> None:
    # r is all but 0: the value is nats - 1, the gradient 1.
    above = torch.zeros(1, 1, requires_grad=True)
    value = kl_k3(above, torch.tensor([[-nats]]))
    value.sum().backward()
    assert value.item() == pytest.approx(nats - 1)
    assert above.grad is not None
    assert above.grad.item() == pytest.approx(1.0)


def test_k3_grows_with_the_distance() -> None:
    values = kl_k3(torch.tensor([[0.0, -5.0, -19.9, -20.0, -20.1, -60.0, -500.0]]), torch.zeros(1, 7))[0]
    assert (values.diff() > 0).all()
    assert values.isfinite().all()


def test_without_dual_clip_a_bad_token_keeps_its_gradient_beyond_twenty_nats() -> None:
    logprobs = torch.tensor([[0.0]], requires_grad=True)
    loss, _ = GrpoLoss(dual_clip=None).of_tokens(logprobs, torch.tensor([[-30.0]]), torch.tensor([[-1.0]]), ones([1.0]))
    loss.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.item() == pytest.approx(math.exp(20.0), rel=1e-4)
    assert math.isfinite(loss.item())


def test_k1_is_the_difference_of_log_probabilities() -> None:
    assert kl_k1(logs([0.5]), logs([0.25])).item() == pytest.approx(math.log(2))


def test_token_weights_of_each_aggregation() -> None:
    assert TokenMean().token_weights([3, 1]) == [0.25, 0.25]
    assert SequenceMean().token_weights([4, 1]) == [0.125, 0.5]
    assert ConstantLength(normalizer_tokens=10).token_weights([4, 1]) == [0.05, 0.05]


def test_effective_sample_size_falls_with_unequal_weights() -> None:
    assert effective_sample_size(1.0, 1.0) == 1.0
    weights = [4.0, 0.0, 0.0, 0.0]
    assert effective_sample_size(sum(weights) / 4, sum(w * w for w in weights) / 4) == pytest.approx(0.25)
