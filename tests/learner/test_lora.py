"""Adapters: what they compute, what they leave alone, and how they travel."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.tuners import lora
from pydantic import ValidationError
from torch import Tensor
from transformers import AutoModelForImageTextToText

from learner.adapter_export import export_adapter
from learner.config import DeepSpeedConfig, LearnerConfig, LoraConfig, SftConfig
from learner.engine import LearnerEngine
from learner.lora import MergedLinear, adapters_off, add_adapters
from learner.model_export import export_model
from learner.optimizers.config import ColdStartOptimizerConfig, OptimizerConfig
from learner.weights import DeepSpeedWeightSource
from learner.whole_weights import outgoing_weights
from tests.learner.conftest import StartEngine, ToyWorld
from tests.learner.toy import TINY, free_port, gradient_sized, make_config, make_model, sft_rows, training_rows
from vlm.errors import CheckpointError
from vlm.families import FAMILIES, Family, Part
from vlm.files import weights_fingerprint
from vlm.policy import Policy, PolicyBatch, PolicyRow, load_policy
from vlm.tiny import build_tiny_checkpoint

LORA = LoraConfig(rank=4, alpha=8.0)
ALL_PARTS: tuple[Part, ...] = ("language", "vision", "projector")
LAYER = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
LAYER += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
REGION = {f"model.region_encoder.{name}" for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")}
REGION |= {"model.region_encoder.position.weight"}


def language(*layers: int) -> set[str]:
    return {f"model.language_model.layers.{layer}.{name}.weight" for layer in layers for name in LAYER}


def moved(policy: Policy, size: float = 0.05) -> Policy:
    """The same with adapters that change something: peft's begin with B = 0."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter += size * torch.randn(parameter.shape, generator=generator)
    return policy


def adapted(world: ToyWorld, dtype: torch.dtype = torch.float32, **changes: Any) -> Policy:
    policy = load_policy(world.model, dtype)
    add_adapters(policy.vlm, make_config(**{"lora": LORA} | changes))
    return policy


def batch_of(world: ToyWorld) -> PolicyBatch:
    encoder = world.encoder
    rows = [
        PolicyRow(row.prompt_token_ids, row.response_token_ids, encoder.vision_inputs(row.sample, row.path))
        for row in sft_rows(world.samples[:4], encoder)
    ]
    return PolicyBatch.collate(rows, encoder.pad_token_id, encoder.image_token_id)


def layers_of(policy: Policy) -> Iterator[MergedLinear]:
    return (module for module in policy.modules() if isinstance(module, MergedLinear))


def test_a_layer_and_its_gradients_are_those_of_peft(world: ToyWorld) -> None:
    layer = next(layers_of(moved(adapted(world), size=0.3)))
    base = layer.base_layer.weight.clone()
    x = torch.randn(2, 5, base.shape[1], generator=torch.Generator().manual_seed(0), requires_grad=True)
    wanted = (x, layer.adapter.down, layer.adapter.up)
    found = []
    for forward in (layer.forward, lambda x: lora.Linear.forward(layer, x)):
        y = forward(x)
        found.append((y.detach(), *torch.autograd.grad(y.square().sum(), wanted)))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-4)
    assert not torch.allclose(found[0][0], x @ base.T, atol=0.1)
    assert torch.equal(layer.base_layer.weight, base)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_policy_is_that_of_the_merged_weights_bit_for_bit(world: ToyWorld, dtype: torch.dtype) -> None:
    policy = moved(adapted(world, dtype, lora=LORA.replace(parts=ALL_PARTS)))
    plain = load_policy(world.model, dtype)
    batch = batch_of(world)
    before = plain(batch)[0]
    merged = {weight.name: weight.value(dtype) for weight in outgoing_weights(policy.vlm)}
    assert merged.keys() == plain.vlm.state_dict().keys()
    plain.vlm.load_state_dict(merged)
    logprobs = policy(batch)[0]
    assert torch.equal(logprobs, plain(batch)[0])
    assert (logprobs - before).abs().max() > 0.1
    with adapters_off(policy.vlm):
        assert torch.equal(policy(batch)[0], before)
    assert torch.equal(policy(batch)[0], logprobs)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, language(0, 1) | REGION),
        ({"freeze": ("region",)}, language(0, 1)),
        ({"last_language_layers": 1}, language(1) | REGION),
        (
            {"lora": LORA.replace(parts=("vision",))},
            {f"model.visual.blocks.0.{n}.weight" for n in ("attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2")}
            | REGION,
        ),
        (
            {"lora": LORA.replace(parts=("projector",)), "freeze": ("region",)},
            {
                f"model.visual.{merger}.linear_fc{n}.weight"
                for merger in ("merger", "deepstack_merger_list.0")
                for n in (1, 2)
            },
        ),
    ],
)
def test_what_changes_is_the_matrices_of_the_parts_and_the_region_encoder(
    world: ToyWorld, changes: dict[str, Any], expected: set[str]
) -> None:
    source = DeepSpeedWeightSource(adapted(world, **changes).vlm, torch.float32)
    everything = {meta.name: meta.shape for meta in source.metadata()}
    assert everything == {name: tuple(w.shape) for name, w in load_policy(world.model).vlm.state_dict().items()}
    trained = source.trained()
    assert {meta.name for meta in trained.metadata()} == {name for name, _ in trained} == expected
    assert trained.unchanged.keys() == everything.keys() - expected


def test_adapters_are_the_same_on_every_rank(world: ToyWorld) -> None:
    torch.manual_seed(7)
    first = adapted(world)
    torch.manual_seed(8)
    state = torch.get_rng_state()
    second = adapted(world)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.model_type)
def test_an_exported_adapter_is_loaded_by_peft_and_equals_the_exported_model(tmp_path: Path, family: Family) -> None:
    build_tiny_checkpoint(tmp_path / "base", ["red point"], TINY, seed=0, family=family)
    config = make_config(lora=LORA.replace(parts=ALL_PARTS))
    policy = load_policy(tmp_path / "base")
    add_adapters(policy.vlm, config)
    moved(policy)
    export_model(policy.vlm, tmp_path / "base", tmp_path / "merged", is_writer=True)
    export_adapter(policy.vlm, config, tmp_path / "base", tmp_path / "adapter", is_writer=True)
    base = AutoModelForImageTextToText.from_pretrained(tmp_path / "base")
    tokens = torch.arange(3, 23)[None]
    before = base(input_ids=tokens).logits
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(loaded(input_ids=tokens).logits, merged(input_ids=tokens).logits, rtol=0, atol=1e-5)
    assert (loaded(input_ids=tokens).logits - before).abs().max() > 0.1
    # Vision adapters and the region encoder are in the file too.
    whole = loaded.merge_and_unload().state_dict()
    for name, weight in merged.state_dict().items():
        torch.testing.assert_close(whole[name], weight, rtol=0, atol=1e-6, msg=name)
    settings = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert (settings["r"], settings["base_model_name_or_path"]) == (4, str(tmp_path / "base"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze": ("language",)}, r"lora.parts=\['language'\], but freeze=\['language'\].* set freeze=\[\]"),
        (
            {"lora": LoraConfig(parts=("language", "vision")), "freeze": ("vision",)},
            r"a frozen part gets no adapters; set lora.parts=\['language'\] or set freeze=\[\]",
        ),
        ({"sft": SftConfig(freeze=("language",))}, r"sft.freeze=\['language'\]"),
        (
            {"lora": LoraConfig(parts=("vision",)), "last_language_layers": 1},
            r"adapts no language layer: set last_language_layers=null",
        ),
        ({"optimizer": OptimizerConfig()}, r"lora needs optimizer.learning_rate=5e-06 or more.* try 2e-5"),
        # A rate that a preset gives for whole weights is no better for being given.
        ({"optimizer": OptimizerConfig(learning_rate=1e-6)}, r"adapters hardly move at 1e-06.* try 2e-5"),
        (
            {"sft": SftConfig(optimizer=ColdStartOptimizerConfig(learning_rate=1e-6))},
            r"lora needs sft.optimizer.learning_rate=5e-06 or more.* try 1e-4",
        ),
    ],
)
def test_adapters_without_anything_to_adapt_are_refused_with_the_next_best(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        make_config(**{"lora": LORA} | changes)


@pytest.mark.parametrize("settings", [{"rank": 0}, {"alpha": 0.0}, {"parts": ()}, {"parts": ("region",)}])
def test_impossible_adapters_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LoraConfig(**settings)


def test_the_cold_start_has_the_same_adapters(world: ToyWorld) -> None:
    config = LearnerConfig(lora=LORA, optimizer=OptimizerConfig(learning_rate=2e-5))
    assert config.for_cold_start().lora == LORA


def test_models_are_told_apart_by_their_weights(world: ToyWorld, tmp_path: Path) -> None:
    make_model(tmp_path / "same")
    prints = [weights_fingerprint(folder) for folder in (world.model, tmp_path / "same", world.reference)]
    assert prints[0] == prints[1] != prints[2]


# -- with DeepSpeed ----------------------------------------------------------------------------------------------------


def weights_of(engine: LearnerEngine) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in DeepSpeedWeightSource(engine.vlm, torch.float32)}


def config_of(zero_stage: int, dtype: str = "float32") -> LearnerConfig:
    config = make_config(zero_stage, lora=LORA, kl_coefficient=0.3, optimizer_steps_per_batch=2)
    deepspeed = {"zero_stage": zero_stage, "micro_batch_rows": 3, "dtype": dtype}
    return gradient_sized(config).replace(deepspeed=DeepSpeedConfig.model_validate(deepspeed))


@pytest.mark.stack
@pytest.mark.parametrize(("zero_stage", "dtype"), [(0, "float32"), (2, "bfloat16"), (3, "float32")])
def test_training_moves_adapters_alone_and_resumes_exactly_from_a_small_checkpoint(
    world: ToyWorld, tmp_path: Path, zero_stage: int, dtype: str
) -> None:
    def start() -> LearnerEngine:
        return LearnerEngine(
            world.model,
            world.encoder,
            config_of(zero_stage, dtype),
            master_port=free_port(),
            reference=world.model,  # the base itself, so that no second model is loaded
        )

    rows = training_rows(world.samples, world.encoder)
    before = load_policy(world.model, getattr(torch, dtype)).vlm.float().state_dict()
    engine = start()
    engine.policy_update(rows)
    (tmp_path / "state").mkdir()
    engine.save(tmp_path / "state")
    second = engine.policy_update(rows)
    assert second["kl_reference"] > 1e-6
    after = weights_of(engine)
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert changed == language(0, 1) | REGION
    with adapters_off(engine.vlm):
        base = engine.response_logprobs(rows)
    plain = load_policy(world.model, getattr(torch, dtype))
    untouched = LearnerEngine(world.model, world.encoder, make_config(), master_port=free_port())
    if dtype == "float32":
        for mine, theirs in zip(base, untouched.response_logprobs(rows), strict=True):
            assert mine == pytest.approx(theirs, abs=1e-5)
    resumed = start()
    resumed.load(tmp_path / "state")
    assert resumed.policy_update(rows) == pytest.approx(second, rel=1e-5, abs=1e-7)
    for name, weight in weights_of(resumed).items():
        torch.testing.assert_close(weight, after[name], rtol=0, atol=1e-7)
    # Adapters, masters and moments: nothing of the 56 weights of the base.
    trained = sum(p.numel() for p in _trained_shapes(plain))
    size = sum(file.stat().st_size for file in (tmp_path / "state").rglob("*") if file.is_file())
    assert size < trained * 4 * 4 + 100_000
    for one in (engine, resumed, untouched):
        one.close()


def _trained_shapes(plain: Policy) -> list[Tensor]:
    add_adapters(plain.vlm, make_config(lora=LORA))
    return [parameter for parameter in plain.parameters() if parameter.requires_grad]


@pytest.mark.stack
def test_a_checkpoint_of_other_adapters_or_of_another_base_is_refused(
    world: ToyWorld, start_engine: StartEngine, tmp_path: Path
) -> None:
    config = make_config(lora=LORA, kl_coefficient=0.0)
    engine = start_engine(config)
    engine.save(tmp_path)
    for other, message in (
        (LORA.replace(rank=8), r'lora is \{"rank": 4.*\}, but learner.lora is \{"rank": 8'),
        (None, r"but learner.lora is null; continue with learner.lora=\{"),
    ):
        with pytest.raises(CheckpointError, match=message):
            start_engine(config.replace(lora=other)).load(tmp_path)
    elsewhere = LearnerEngine(world.reference, world.encoder, config, master_port=free_port())
    with pytest.raises(CheckpointError, match=rf"adapters belong to the model in {world.model.resolve()}.*--from"):
        elsewhere.load(tmp_path)
    elsewhere.close()
    whole = tmp_path / "whole"
    whole.mkdir()
    start_engine(config.replace(lora=None)).save(whole)
    with pytest.raises(CheckpointError, match=r"lora is null, but learner.lora is \{"):
        engine.load(whole)


@pytest.mark.stack
def test_a_reference_that_is_another_model_is_loaded_beside_the_adapters(
    world: ToyWorld, start_engine: StartEngine
) -> None:
    rows = training_rows(world.samples, world.encoder)
    config = config_of(0).replace(optimizer_steps_per_batch=1)
    other = start_engine(config).policy_update(rows)["kl_reference"]
    same = LearnerEngine(
        world.model, world.encoder, config, master_port=free_port(), reference=world.model
    ).policy_update(rows)["kl_reference"]
    assert other > 0.01
    assert same == 0.0  # before its first step, a policy is its own base


@pytest.mark.stack
@pytest.mark.parametrize("zero_stage", [0, 3])
def test_exports_hold_what_was_trained(
    world: ToyWorld, start_engine: StartEngine, tmp_path: Path, zero_stage: int
) -> None:
    engine = start_engine(make_config(zero_stage, lora=LORA, kl_coefficient=0.0))
    engine.sft_step(sft_rows(world.samples, world.encoder))
    engine.export(tmp_path / "merged")
    engine.export_adapter(tmp_path / "adapter")
    merged, found = load_policy(tmp_path / "merged").vlm.state_dict(), weights_of(engine)
    assert all(torch.equal(merged[name], weight) for name, weight in found.items())
    base = AutoModelForImageTextToText.from_pretrained(world.model)
    whole = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").merge_and_unload().state_dict()
    for name, weight in merged.items():
        torch.testing.assert_close(whole[name], weight, rtol=0, atol=1e-6, msg=name)
