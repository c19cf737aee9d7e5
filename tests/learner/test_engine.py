"""The engine on real DeepSpeed, one rank in this process."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flow.trajectory import VersionSpan
from learner.algorithms.aggregation import SequenceMean
from learner.algorithms.importance import NoImportance
from learner.algorithms.policy_losses.grpo import GrpoLoss
from learner.algorithms.policy_losses.gspo import GspoLoss
from learner.algorithms.rejection import TokenRejection
from learner.batch import TrainingRow
from learner.config import DeepSpeedConfig
from learner.engine import LearnerEngine
from learner.optimizers.config import OptimizerConfig
from learner.weights import DeepSpeedWeightSource
from tests.learner.conftest import StartEngine, ToyWorld
from tests.learner.plain import PlainLearner
from tests.learner.toy import (
    ROUNDING,
    TINY,
    free_port,
    gradient_sized,
    make_config,
    make_model,
    num_optimizer_steps,
    sft_rows,
    training_rows,
)
from vlm.errors import CheckpointError
from vlm.families import QWEN3_VL, Part
from vlm.policy import load_policy
from vlm.prompt import PromptEncoder

pytestmark = pytest.mark.stack
STAGES = [0, 2, 3]


def weights_of(engine: LearnerEngine) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in DeepSpeedWeightSource(engine.vlm, torch.float32)}


def assert_same_weights(left: dict[str, Tensor], right: dict[str, Tensor], atol: float) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        difference = (tensor - right[name]).abs().max().item()
        assert difference <= atol, f"{name} differs by {difference}"


def plain(world: ToyWorld, **changes: Any) -> PlainLearner:
    config = gradient_sized(make_config(**changes))
    return PlainLearner(load_policy(world.model), load_policy(world.reference), world.encoder, config)


def plain_weights(learner: PlainLearner) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in learner.policy.vlm.named_parameters(remove_duplicate=False)}


@pytest.mark.rounding
@pytest.mark.parametrize("zero_stage", STAGES)
def test_an_update_equals_plain_pytorch(world: ToyWorld, start_engine: StartEngine, zero_stage: int) -> None:
    settings: dict[str, Any] = {"kl_coefficient": 0.3, "optimizer_steps_per_batch": 2}
    engine, reference = start_engine(gradient_sized(make_config(zero_stage, **settings))), plain(world, **settings)
    chains, rows = sft_rows(world.samples, world.encoder), training_rows(world.samples, world.encoder)
    assert engine.sft_step(chains)["loss"] == pytest.approx(reference.sft_step(chains), rel=1e-5)
    metrics = engine.policy_update(rows)
    losses = reference.policy_update(rows)
    assert metrics["loss"] == pytest.approx(sum(losses) / 2, rel=1e-4)
    assert metrics["kl_reference"] > 0.01
    assert_same_weights(weights_of(engine), plain_weights(reference), atol=ROUNDING)


@pytest.mark.rounding
def test_an_update_does_not_depend_on_what_bounds_its_micro_batches(world: ToyWorld, start_engine: StartEngine) -> None:
    chains, rows = sft_rows(world.samples, world.encoder), training_rows(world.samples, world.encoder)
    base = gradient_sized(make_config(optimizer_steps_per_batch=2))
    found = {}
    for max_rows, max_tokens in [(10, None), (None, 170), (2, 120)]:
        bounds = base.deepspeed.replace(micro_batch_rows=max_rows, micro_batch_tokens=max_tokens)
        engine = start_engine(base.replace(deepspeed=bounds))
        found[max_tokens] = engine.sft_step(chains), engine.policy_update(rows), weights_of(engine)
    sft, rl, weights = found[None]
    for max_tokens in (170, 120):
        cut_sft, cut_rl, cut_weights = found[max_tokens]
        for name in ("loss", "grad_norm"):
            assert cut_sft[name] == pytest.approx(sft[name], rel=1e-5)
            assert cut_rl[name] == pytest.approx(rl[name], rel=1e-4)
        assert cut_sft["padding_share"] < 0.15 < sft["padding_share"] < 1
        assert cut_rl["padding_share"] < 0.15 < rl["padding_share"] < 1
        assert_same_weights(cut_weights, weights, atol=ROUNDING)


@pytest.mark.rounding
def test_with_frozen_vision_an_update_encodes_each_image_once(world: ToyWorld, start_engine: StartEngine) -> None:
    rows = training_rows(world.samples, world.encoder)
    base = gradient_sized(make_config(freeze=("vision", "projector"), optimizer_steps_per_batch=2, kl_coefficient=0.3))
    found = []
    for num_mib in (64, 0):
        config = base.replace(deepspeed=base.deepspeed.replace(image_features_mib=num_mib))
        engine = start_engine(config)
        num_patches: list[int] = []
        engine.vlm.model.visual.patch_embed.register_forward_hook(
            lambda _, given, result, counts=num_patches: counts.append(len(result))
        )
        found.append((engine.policy_update(rows), weights_of(engine), sum(num_patches) // (64 // 16) ** 2))
    (kept, weights, num_encoded), (fresh, expected, num_fresh) = found
    # Ten images for training, and those of the second mini-batch for the proximal log-probabilities.
    assert (num_encoded, num_fresh) == (10, 15)
    assert kept == pytest.approx(fresh, rel=1e-4, abs=1e-6)
    assert_same_weights(weights, expected, atol=ROUNDING)


def test_after_the_first_step_of_a_batch_the_ratio_leaves_one(world: ToyWorld, start_engine: StartEngine) -> None:
    rows = training_rows(world.samples, world.encoder)
    on_policy = start_engine(make_config(kl_coefficient=0.0, optimizer_steps_per_batch=1)).policy_update(rows)
    assert on_policy["ratio"] == 1.0
    assert on_policy["kl_proximal_learner"] == 0.0
    several = start_engine(make_config(kl_coefficient=0.0, optimizer_steps_per_batch=4)).policy_update(rows)
    assert several["ratio"] != pytest.approx(1.0, abs=1e-3)
    assert several["kl_proximal_learner"] > 1e-5
    assert "kl_reference" not in several


def test_metrics_are_told_apart_by_path(world: ToyWorld, start_engine: StartEngine) -> None:
    rows = training_rows(world.samples, world.encoder)
    metrics = start_engine(make_config()).policy_update(rows)
    for name in ("kl_reference", "kl_rollout_learner", "kl_rollout_learner_k1", "clip_fraction", "entropy", "ess"):
        assert metrics[name] != metrics[f"lor/{name}"] or name == "clip_fraction"
        assert f"dtr/{name}" in metrics
    assert 0 < metrics["ess"] < 1
    assert metrics["num_tokens"] == sum(len(row.response_token_ids) for row in rows)
    assert metrics["grad_norm"] > 0
    lor_only = [row for row in rows if row.path == "lor"]
    assert not any(name.startswith("dtr/") for name in start_engine(make_config()).policy_update(lor_only))


def made_by(version: int, row: TrainingRow) -> TrainingRow:
    """The row with all its tokens from the weights of `version`."""
    spans = (VersionSpan(version, len(row.response_token_ids)),)
    return replace(row, trajectory=replace(row.trajectory, version_spans=spans))


def test_metrics_are_told_apart_by_staleness(world: ToyWorld, start_engine: StartEngine) -> None:
    # With one version for each path, a version's means are its path's.
    rows = [made_by(7 if row.path == "lor" else 5, row) for row in training_rows(world.samples, world.encoder)]
    metrics = start_engine(make_config(rejection=TokenRejection())).policy_update(rows, weight_version=7)
    names = ("kl_rollout_learner", "ess", "importance_truncated", "rejected", "clip_fraction")
    by_staleness = {name for name in metrics if name.startswith("staleness_")}
    assert by_staleness == {f"staleness_{age}/{name}" for age in (0, 2) for name in names}
    for name in names:
        assert metrics[f"staleness_0/{name}"] == pytest.approx(metrics[f"lor/{name}"])
        assert metrics[f"staleness_2/{name}"] == pytest.approx(metrics[f"dtr/{name}"])
    assert 0 < metrics["rejected"] < 1


@pytest.mark.parametrize(("weight_version", "ages"), [(5, set()), (None, set()), (6, {"staleness_1"})])
def test_a_batch_of_the_present_version_has_no_metrics_by_staleness(
    world: ToyWorld, start_engine: StartEngine, weight_version: int | None, ages: set[str]
) -> None:
    rows = [made_by(5, row) for row in training_rows(world.samples[:2], world.encoder)]
    metrics = start_engine(make_config(optimizer_steps_per_batch=1)).policy_update(rows, weight_version)
    assert {name.split("/")[0] for name in metrics if name.startswith("staleness_")} == ages


def test_the_gradient_norm_is_the_same_under_every_stage(world: ToyWorld, start_engine: StartEngine) -> None:
    chains = sft_rows(world.samples, world.encoder)
    norms = [start_engine(make_config(stage)).sft_step(chains)["grad_norm"] for stage in range(4)]
    assert norms == pytest.approx([norms[0]] * 4, rel=1e-4)


def test_gspo_and_other_choices_train(world: ToyWorld, start_engine: StartEngine) -> None:
    rows = training_rows(world.samples, world.encoder)
    config = make_config(policy_loss=GspoLoss(), aggregation=SequenceMean(), importance=NoImportance())
    gspo = start_engine(config).policy_update(rows)
    grpo = start_engine(make_config(policy_loss=GrpoLoss())).policy_update(rows)
    assert gspo["clip_fraction"] > 0.3 > grpo["clip_fraction"]
    assert gspo["importance_weight"] == 1.0


def test_a_penalty_without_a_reference_is_refused(world: ToyWorld) -> None:
    engine = LearnerEngine(world.model, world.encoder, make_config(kl_coefficient=0.1))
    with pytest.raises(ValueError, match="needs a reference"):
        engine.policy_update(training_rows(world.samples, world.encoder))
    engine.close()


def test_a_wrong_number_of_ranks_is_refused(world: ToyWorld) -> None:
    with pytest.raises(ValueError, match=r"learner.num_ranks=2"):
        LearnerEngine(world.model, world.encoder, make_config(num_ranks=2))


def test_the_policy_is_the_model_at_the_temperature_that_engines_sample_at(world: ToyWorld) -> None:
    rows = training_rows(world.samples, world.encoder)
    reference = plain(world)
    with torch.no_grad():
        expected = [reference._logprobs(reference.policy, row, temperature=0.7).tolist() for row in rows]
    engine = LearnerEngine(
        world.model, world.encoder, make_config(kl_coefficient=0.0), master_port=free_port(), temperature=0.7
    )
    found = engine.response_logprobs(rows)
    engine.close()
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)


def test_logprobs_of_responses_come_in_order(world: ToyWorld, start_engine: StartEngine) -> None:
    rows = training_rows(world.samples, world.encoder)
    reference = plain(world)
    with torch.no_grad():
        expected = [reference._logprobs(reference.policy, row).tolist() for row in rows]
    found = start_engine(make_config()).response_logprobs(rows)
    assert [len(values) for values in found] == [len(row.response_token_ids) for row in rows]
    for left, right in zip(found, expected, strict=True):
        assert left == pytest.approx(right, abs=1e-5)


@pytest.mark.parametrize("zero_stage", STAGES)
def test_the_weight_source_yields_whole_weights_and_the_tied_head(
    world: ToyWorld, start_engine: StartEngine, zero_stage: int
) -> None:
    source = DeepSpeedWeightSource(start_engine(make_config(zero_stage)).vlm, torch.float32, bucket_bytes=50_000)
    expected = load_policy(world.model).vlm.state_dict()
    found = dict(source)
    assert [(meta.name, meta.shape, meta.dtype) for meta in source.metadata()] == [
        (name, tuple(tensor.shape), tensor.dtype) for name, tensor in source
    ]
    assert "lm_head.weight" in found
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert source.num_bytes == sum(tensor.nbytes for tensor in found.values())


def test_the_wire_may_be_bfloat16(world: ToyWorld, start_engine: StartEngine) -> None:
    vlm = start_engine(make_config(3)).vlm
    half, full = DeepSpeedWeightSource(vlm, torch.bfloat16), DeepSpeedWeightSource(vlm, torch.float32)
    assert half.num_bytes * 2 == full.num_bytes
    assert {tensor.dtype for _, tensor in half} == {torch.bfloat16} == {meta.dtype for meta in half.metadata()}


@pytest.mark.parametrize("zero_stage", STAGES)
def test_six_steps_equal_three_and_a_load_and_three(
    world: ToyWorld, start_engine: StartEngine, tmp_path: Path, zero_stage: int
) -> None:
    config = gradient_sized(make_config(zero_stage, optimizer_steps_per_batch=3))
    rows = training_rows(world.samples, world.encoder)
    whole = start_engine(config)
    whole.policy_update(rows)
    whole.save(tmp_path)
    whole.policy_update(rows)
    resumed = start_engine(config)
    resumed.load(tmp_path)
    assert num_optimizer_steps(resumed) == 3
    resumed.policy_update(rows)
    assert num_optimizer_steps(resumed) == num_optimizer_steps(whole) == 6
    assert_same_weights(weights_of(resumed), weights_of(whole), atol=ROUNDING)


OPTIMIZER = OptimizerConfig(learning_rate=1e-3, warmup_steps=2, schedule="cosine")
CHANGED = OPTIMIZER.replace(
    learning_rate=4e-3, weight_decay=0.25, betas=(0.8, 0.9), epsilon=1e-6, max_grad_norm=0.5, warmup_steps=4
)


@pytest.mark.parametrize(
    ("zero_stage", "type_"), [(0, "adamw"), (0, "muon"), (0, "adafactor"), (2, "adamw"), (3, "adamw")]
)
def test_a_load_takes_the_rates_of_the_config_and_not_of_the_checkpoint(
    world: ToyWorld, start_engine: StartEngine, tmp_path: Path, zero_stage: int, type_: str
) -> None:
    config = make_config(zero_stage, kl_coefficient=0.0)
    chains = sft_rows(world.samples, world.encoder)
    first = start_engine(config.replace(optimizer=OPTIMIZER.replace(type=type_)))
    assert first.sft_step(chains)["learning_rate"] == pytest.approx(1e-3)  # of the step to come
    first.save(tmp_path)
    changed = CHANGED.replace(type=type_)
    resumed = start_engine(config.replace(optimizer=changed))
    resumed.load(tmp_path)
    inner = resumed._engine.optimizer
    for group in inner.param_groups:
        assert group["lr"] == pytest.approx(4e-3 * 2 / 4)  # where the new warm-up is after one step
        assert group["weight_decay"] == 0.25
        assert group.get("betas", (0.8, 0.9)) == (0.8, 0.9)
    assert getattr(inner, "clip_grad", 0.5) == 0.5
    assert resumed.sft_step(chains)["learning_rate"] == pytest.approx(4e-3 * 3 / 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"freeze": ("vision",)},
            r"freeze is \[\], but learner.freeze is \[\"vision\"\]; continue with learner.freeze=\[\]",
        ),
        ({"optimizer": OPTIMIZER.replace(type="muon")}, r'learner.optimizer.type is "muon"'),
        ({"last_language_layers": 1}, r"learner.last_language_layers is 1"),
    ],
)
def test_a_checkpoint_that_other_weights_were_trained_in_is_refused_with_the_setting(
    world: ToyWorld, start_engine: StartEngine, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    start_engine(make_config(kl_coefficient=0.0)).save(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        start_engine(make_config(kl_coefficient=0.0).replace(**change)).load(tmp_path)


def test_an_exported_model_may_be_read_by_whom_other_files_may_be(
    world: ToyWorld, start_engine: StartEngine, tmp_path: Path
) -> None:
    (tmp_path / "plain").touch()
    start_engine(make_config(kl_coefficient=0.0)).export(tmp_path / "model")
    rights = {file.name: file.stat().st_mode for file in (tmp_path / "model").iterdir()}
    assert "model.safetensors" in rights
    assert set(rights.values()) == {(tmp_path / "plain").stat().st_mode}


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_an_export_is_a_plain_model_folder(
    world: ToyWorld, start_engine: StartEngine, tmp_path: Path, zero_stage: int
) -> None:
    engine = start_engine(make_config(zero_stage))
    engine.sft_step(sft_rows(world.samples, world.encoder))
    engine.export(tmp_path / "plain")
    exported = load_policy(tmp_path / "plain")
    assert_same_weights(dict(exported.vlm.state_dict()), weights_of(engine), atol=0)
    encoder = PromptEncoder(tmp_path / "plain", world.encoder._images.store, world.encoder._config)
    sample = world.samples[0]
    assert encoder.prompt_token_ids(sample, sample.paths[0]) == world.encoder.prompt_token_ids(sample, sample.paths[0])


def test_a_checkpoint_of_another_model_is_refused_by_key(
    world: ToyWorld, start_engine: StartEngine, tmp_path: Path
) -> None:
    make_model(tmp_path / "shallow", model=TINY.replace(text_layers=1))
    make_model(tmp_path / "narrow", model=TINY.replace(text_width=32))
    engine = start_engine(make_config())
    for name, message in (("shallow", r"the key model.*layers\.1.* is missing"), ("narrow", r"has shape \[.*32\]")):
        other = LearnerEngine(tmp_path / name, world.encoder, make_config(kl_coefficient=0.0))
        (tmp_path / f"{name}-state").mkdir()
        other.save(tmp_path / f"{name}-state")
        other.close()
        with pytest.raises(CheckpointError, match=message):
            engine.load(tmp_path / f"{name}-state")


def test_a_checkpoint_of_another_layout_is_refused_with_the_setting(
    world: ToyWorld, start_engine: StartEngine, tmp_path: Path
) -> None:
    start_engine(make_config(2)).save(tmp_path)
    engine = start_engine(make_config(0))
    with pytest.raises(CheckpointError, match=r"continue with learner.deepspeed.zero_stage=2"):
        engine.load(tmp_path)
    assert json.loads((tmp_path / "layout.json").read_text())["num_ranks"] == 1


@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_bfloat16_keeps_float32_masters(world: ToyWorld, start_engine: StartEngine, zero_stage: int) -> None:
    deepspeed = DeepSpeedConfig(zero_stage=zero_stage, micro_batch_rows=3, dtype="bfloat16")
    config = make_config(zero_stage).replace(deepspeed=deepspeed)
    engine = start_engine(config)
    chains = sft_rows(world.samples, world.encoder)
    losses = [engine.sft_step(chains)["loss"] for _ in range(4)]
    full = start_engine(make_config(zero_stage))
    expected = [full.sft_step(chains)["loss"] for _ in range(4)]
    assert losses == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("zero_stage", "dtype"), [(1, "bfloat16"), (2, "float32"), (3, "float32")])
def test_an_optimizer_in_host_memory_makes_the_same_steps(
    world: ToyWorld, start_engine: StartEngine, tmp_path: Path, zero_stage: int, dtype: str
) -> None:
    config = gradient_sized(make_config(zero_stage, optimizer_steps_per_batch=2))
    config = config.replace(deepspeed=config.deepspeed.replace(dtype=dtype))
    offloaded = config.replace(deepspeed=config.deepspeed.replace(optimizer_offload="cpu"))
    rows = training_rows(world.samples, world.encoder)
    on_device, on_host = start_engine(config), start_engine(offloaded)
    for _ in range(2):
        expected, found = on_device.policy_update(rows), on_host.policy_update(rows)
        assert found["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-5 if dtype == "float32" else 0.02)
    # Weights in bfloat16 differ by a unit in the last place where the masters lie near the middle of two.
    atol = ROUNDING if dtype == "float32" else 2**-8
    assert_same_weights(weights_of(on_host), weights_of(on_device), atol=atol)
    on_host.save(tmp_path)
    resumed = start_engine(offloaded)
    resumed.load(tmp_path)
    for engine in (on_host, resumed):
        engine.policy_update(rows)
    assert_same_weights(weights_of(resumed), weights_of(on_host), atol=0)
    with pytest.raises(CheckpointError, match=r"continue with learner.deepspeed.optimizer_offload=\"cpu\""):
        start_engine(config).load(tmp_path)


@pytest.mark.parametrize("part", ["vision", "projector", "region", "language"])
def test_a_frozen_part_stays_and_all_others_move(world: ToyWorld, start_engine: StartEngine, part: Part) -> None:
    engine = start_engine(make_config(freeze=(part,)))
    engine.sft_step(sft_rows(world.samples, world.encoder))
    before, after = load_policy(world.model).vlm.state_dict(), weights_of(engine)
    moved = {QWEN3_VL.part_of(name) for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"vision", "projector", "region", "language"} - {part}


def test_only_the_last_layer_and_the_final_norm_move(world: ToyWorld, start_engine: StartEngine) -> None:
    engine = start_engine(make_config(freeze=("vision", "projector", "region"), last_language_layers=1))
    engine.sft_step(sft_rows(world.samples, world.encoder))
    before, after = load_policy(world.model).vlm.state_dict(), weights_of(engine)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    last = ("model.language_model.layers.1.", "model.language_model.norm.")
    assert moved == {name for name in after if name.startswith(last)}


def test_activation_checkpointing_changes_nothing_but_memory(world: ToyWorld, start_engine: StartEngine) -> None:
    chains = sft_rows(world.samples, world.encoder)
    for stage in (0, 3):
        config = gradient_sized(make_config(stage))
        thrifty = config.replace(deepspeed=config.deepspeed.replace(activation_checkpointing=True))
        plain_engine, thrifty_engine = start_engine(config), start_engine(thrifty)
        plain_engine.sft_step(chains)
        thrifty_engine.sft_step(chains)
        assert_same_weights(weights_of(plain_engine), weights_of(thrifty_engine), atol=ROUNDING)


@pytest.mark.parametrize(("zero_stage", "dtype"), [(0, "float32"), (2, "bfloat16")])
def test_packed_updates_are_those_of_padded_rows_without_the_padding(
    zero_stage: int, dtype: str, world: ToyWorld, start_engine: StartEngine
) -> None:
    rows = sft_rows(world.samples, world.encoder)
    found = []
    for packing in (False, True):
        config = gradient_sized(make_config(zero_stage))
        deepspeed = config.deepspeed.replace(dtype=dtype, packing=packing, activation_checkpointing=True)
        engine = start_engine(config.replace(deepspeed=deepspeed))
        assert engine.attention.packed is packing
        metrics = [engine.sft_step(rows), engine.policy_update(training_rows(world.samples, world.encoder))]
        found.append(metrics)
    padded, packed = found
    assert all(each["padding_share"] > 0 for each in padded)
    assert [each["padding_share"] for each in packed] == [0.0, 0.0]
    for mine, theirs in zip(packed, padded, strict=True):
        for name in mine.keys() - {"padding_share"}:
            assert mine[name] == pytest.approx(theirs[name], abs=1e-5 if dtype == "float32" else 0.03), name
