"""LoRA adapters in a model, made by peft (arXiv 2106.09685).

A layer computes with the merged matrix W + (alpha / rank) · B · A, rounded to the model's number format: the very
matrix that engines are given. peft's own layer adds B · (A · x) to W · x. In bfloat16 the policy that is trained would
then be another than the one that is sampled, because a small change is lost when it is added to a large weight.
Gradients are those of peft's layer. The merged matrix is made again in the backward pass, so that only one exists at a
time.

Left out on purpose: dropout on adapters, adapters on embeddings and on the head, several adapters at a time.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peft
import torch
import torch.nn.functional as F
from peft.tuners import lora
from torch import Tensor, nn

from learner.adapters import Adapter
from learner.config import LearnerConfig
from learner.passes import ForwardPass
from vlm.families import Family, family_of

_NAME = "default"


class MergedLinear(lora.Linear):
    """peft's adapted layer, computed with the merged matrix."""

    is_on = True
    """False: the base alone."""

    @property
    def adapter(self) -> Adapter:
        return Adapter(self.lora_A[_NAME].weight, self.lora_B[_NAME].weight, self.scaling[_NAME])

    def forward(self, x: Tensor) -> Tensor:
        base = self.base_layer
        if not self.is_on:
            return F.linear(x, base.weight, base.bias)
        adapter = self.adapter
        return _MergedProduct.apply(x, base.weight, base.bias, adapter.down, adapter.up, adapter.scale)


class _MergedProduct(torch.autograd.Function):
    """x · mergedᵀ + bias, with gradients for x and for the adapter."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: nn.Parameter,
        bias: Tensor | None,
        down: nn.Parameter,
        up: nn.Parameter,
        scale: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, down, up)
        ctx.scale = scale
        return F.linear(x, Adapter(down, up, scale).merged_with(weight, weight.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight, down, up = ctx.saved_tensors
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = gradient @ Adapter(down, up, ctx.scale).merged_with(weight, weight.dtype)
        rows, gradient_rows = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        of_down = ctx.scale * (gradient_rows @ up).T @ rows
        of_up = ctx.scale * gradient_rows.T @ (rows @ down.T)
        return of_x, None, None, of_down, of_up, None


class TrainedCopy(nn.Module):
    """A module that is trained whole beside adapters, and what it was before, which the reference needs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.base_copy = module.requires_grad_(False)
        self.trained_copy = copy.deepcopy(module).requires_grad_(True)
        self.is_on = True
        """False: the module as it was."""

    def forward(self, *inputs: Tensor) -> Any:
        return (self.trained_copy if self.is_on else self.base_copy)(*inputs)


def add_adapters(vlm: Any, config: LearnerConfig) -> None:
    """Freeze the whole model, and put trained adapters beside the linear layers of `config.lora.parts`. The module that
    makes region tokens is new and small; it is trained whole, unless `config` freezes it.

    Under ZeRO-3 DeepSpeed gathers an adapted layer as one.
    """
    assert config.lora is not None
    family = family_of(vlm.config.model_type)
    settings = peft_config(config, _targets(vlm, family, config))
    settings._register_custom_module({nn.Linear: MergedLinear})
    # The adapters are the same on every rank, and do not depend on what was drawn before.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        peft.inject_adapter_in_model(settings, vlm)
    for name in whole_modules(vlm, family, config):
        parent, _, child = name.rpartition(".")
        setattr(vlm.get_submodule(parent), child, TrainedCopy(vlm.get_submodule(name)))
    for module in vlm.modules():
        if isinstance(module, MergedLinear):
            module._z3_leaf = True


def peft_config(config: LearnerConfig, targets: list[str]) -> peft.LoraConfig:
    """peft's settings for adapters beside the layers `targets`."""
    assert config.lora is not None
    return peft.LoraConfig(r=config.lora.rank, lora_alpha=config.lora.alpha, target_modules=targets, lora_dropout=0.0)


def _targets(vlm: Any, family: Family, config: LearnerConfig) -> list[str]:
    """Names of the linear layers that get an adapter: those of the parts, in the layers that are trained at all. The
    head, which may be the embeddings too, is in no layer."""
    assert config.lora is not None
    parts, first = config.lora.parts, config.first_language_layer(vlm.config.text_config.num_hidden_layers)

    def is_adapted(name: str) -> bool:
        part, layer = family.part_of(name), family.layer_of(name)
        return part in parts and (part != "language" or (layer is not None and layer >= first))

    return [name for name, module in vlm.named_modules() if isinstance(module, nn.Linear) and is_adapted(name)]


def whole_modules(vlm: nn.Module, family: Family, config: LearnerConfig) -> list[str]:
    """Names of the modules that are trained whole beside adapters."""
    names = [prefix.rstrip(".") for prefix, part in family.parts if part == "region" and part not in config.freeze]
    there = {name for name, _ in vlm.named_modules()}
    return [name for name in names if name in there]


def without_adapters(engine: Any) -> ForwardPass:
    """The policy as it was before its training: the same model with its adapters switched off.

    Args:
        engine: the DeepSpeed engine around the policy.
    """

    def base(*inputs: Any) -> tuple[Tensor, Tensor]:
        with adapters_off(engine.module.vlm):
            return engine(*inputs)

    return base


def keep_frozen_out_of_states(policy: nn.Module) -> None:
    """Leave frozen weights out of the policy's `state_dict`. DeepSpeed can leave them out of a checkpoint, but not a
    tied one under its second name: the head of a small model is its embeddings."""

    def remove_frozen(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        for name, parameter in module.named_parameters(remove_duplicate=False):
            if not parameter.requires_grad:
                state.pop(prefix + name, None)

    policy.register_state_dict_post_hook(remove_frozen)


@contextmanager
def adapters_off(vlm: nn.Module) -> Iterator[None]:
    """Inside the block the model is what it was before its training."""
    switches = [module for module in vlm.modules() if isinstance(module, (MergedLinear, TrainedCopy))]
    for switch in switches:
        switch.is_on = False
    try:
        yield
    finally:
        for switch in switches:
            switch.is_on = True
