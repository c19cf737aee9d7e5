"""Each optimiser is one object: what the config's `type` stands for."""

from typing import get_args

import pytest
import torch
from torch import nn

from learner.optimizers.config import OptimizerConfig

TYPES = get_args(OptimizerConfig.model_fields["type"].annotation)


def one_step(config: OptimizerConfig, on_gpu: bool = False) -> tuple[nn.Linear, torch.optim.Optimizer]:
    """A 64 × 64 matrix and a bias of 64 after one step."""
    torch.manual_seed(0)
    model = nn.Linear(64, 64)
    optimizer = config.kind.build(model, config, on_gpu)
    model(torch.ones(1, 64)).square().sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("on_gpu", [False, True])
def test_adamw_is_fused_on_a_gpu_and_makes_the_same_steps(on_gpu: bool) -> None:
    config = OptimizerConfig(learning_rate=0.1)
    model, optimizer = one_step(config, on_gpu)  # PyTorch has the fused kernel for CPUs too
    assert optimizer.defaults["fused"] is on_gpu
    torch.testing.assert_close(model.weight, one_step(config)[0].weight, atol=1e-6, rtol=0)


def bytes_of_state(optimizer: torch.optim.Optimizer) -> int:
    parts = getattr(optimizer, "_parts", [optimizer])
    tensors = [value for part in parts for state in part.state.values() for value in state.values()]
    return sum(tensor.nbytes for tensor in tensors if isinstance(tensor, torch.Tensor) and tensor.ndim)


@pytest.mark.parametrize(
    ("type_", "kept"), [("adamw", 64 * 65 * 8), ("adafactor", 3 * 64 * 4), ("muon", 64 * 64 * 4 + 64 * 8)]
)
def test_an_optimiser_keeps_no_more_than_its_bytes_of_state(type_: str, kept: int) -> None:
    config = OptimizerConfig.model_validate({"type": type_, "learning_rate": 0.1})
    _, optimizer = one_step(config)
    assert bytes_of_state(optimizer) == kept
    assert kept <= 64 * 65 * config.kind.state_bytes + 1024


@pytest.mark.parametrize("type_", TYPES)
def test_an_optimiser_leaves_frozen_weights_alone(type_: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].requires_grad_(False)
    config = OptimizerConfig.model_validate({"type": type_, "learning_rate": 0.1})
    trained = {id(p) for group in config.kind.build(model, config, False).param_groups for p in group["params"]}
    assert trained == {id(parameter) for parameter in model[1].parameters()}


@pytest.mark.parametrize("type_", TYPES)
def test_a_type_without_adamws_rate_asks_for_one_and_names_a_typical_one(type_: str) -> None:
    typical = OptimizerConfig.model_validate({"type": type_, "learning_rate": 1.0}).kind.typical_rate
    if typical is None:
        assert OptimizerConfig.model_validate({"type": type_}).learning_rate == 1e-6
    else:
        with pytest.raises(ValueError, match=f"type={type_} needs a learning_rate.*try {typical.split()[0]}"):
            OptimizerConfig.model_validate({"type": type_})
