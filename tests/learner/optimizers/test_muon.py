"""Muon and AdamW behind one optimiser."""

import torch
from torch import nn

from learner.optimizers.muon_with_adamw import MuonWithAdamW, split_parameters

# Muon orthogonalises in bfloat16, where a unit in the last place is 0.4 % of an entry. Which of two neighbours an entry
# becomes is decided by how its gradient was rounded, and so by the processor: two computations of the same four steps
# may differ by that share of the way.
ROUNDING = 4 * 0.01 * 0.004

SETTINGS = {"learning_rate": 0.01, "weight_decay": 0.0, "betas": (0.9, 0.95), "epsilon": 1e-8}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed_tokens = nn.Embedding(5, 8)
        self.layer = nn.Linear(8, 8)

    def loss(self) -> torch.Tensor:
        return self.layer(self.embed_tokens.weight).square().sum()


def test_matrices_are_muons_and_all_else_is_adamws() -> None:
    model = Model()
    matrices, others = split_parameters(model.named_parameters())
    assert [id(p) for p in matrices] == [id(model.layer.weight)]
    assert {id(p) for p in others} == {id(model.embed_tokens.weight), id(model.layer.bias)}


def test_a_step_equals_the_two_optimisers_steps() -> None:
    one, other = Model(), Model()
    both = MuonWithAdamW(one.named_parameters(), **SETTINGS)
    muon = torch.optim.Muon([other.layer.weight], lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw", ns_steps=3)
    adamw = torch.optim.AdamW(
        [other.embed_tokens.weight, other.layer.bias], lr=0.01, weight_decay=0.0, betas=(0.9, 0.95)
    )
    for _ in range(3):
        for model in (one, other):
            model.zero_grad()
            model.loss().backward()
        both.step()
        muon.step()
        adamw.step()
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=ROUNDING)


def test_a_schedule_moves_both_rates() -> None:
    model = Model()
    optimizer = MuonWithAdamW(model.named_parameters(), **SETTINGS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    before = model.layer.weight.detach().clone()
    model.loss().backward()
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.005, 0.005]
    assert not torch.equal(before, model.layer.weight)


def test_a_loaded_state_goes_on_as_an_unbroken_run() -> None:
    whole, broken = Model(), Model()
    optimizers = [MuonWithAdamW(model.named_parameters(), **SETTINGS) for model in (whole, broken)]
    for step in range(4):
        if step == 2:
            fresh = MuonWithAdamW(broken.named_parameters(), **SETTINGS)
            fresh.load_state_dict(optimizers[1].state_dict())
            optimizers[1] = fresh
        for model, optimizer in zip((whole, broken), optimizers, strict=True):
            optimizer.zero_grad()
            model.loss().backward()
            optimizer.step()
    for mine, theirs in zip(whole.parameters(), broken.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=ROUNDING)
