"""Learner and engine on one card: both sides added up, and what would make them fit."""

import re

import pytest

from launch.machine.card_memory import (
    Shapes,
    check_card,
    check_engine,
    image_tokens,
    image_tokens_of_rows,
    largest,
    phases_of_card,
)
from launch.machine.findings import GIB, Finding
from launch.machine.fit import examine_config, shapes_of
from launch.machine.memory import ASLEEP_BYTES, host_needs, learner_needs, total
from launch.machine.shapes import ModelShape, VisionShape
from launch.settings.config import RunConfig, load_config
from learner.config import LoraConfig

QWEN25_7B = "tests/shapes/Qwen2.5-VL-7B-Instruct"
SHARED = [
    "cluster.layout={type: shared}",
    "cluster.learner_rank_gpus=0",
    "rollout.gpus_per_worker=0",
    "rollout.num_workers=1",
    "learner.num_ranks=1",
    "rollout.engine.transfer={type: ipc}",
    "training.max_staleness=0",
]
LORA = ["learner.lora={rank: 32}", "learner.optimizer.learning_rate=2e-5", "rollout.engine.gpu_memory_utilization=0.45"]


def config_of(*overrides: str, model: str = QWEN25_7B) -> RunConfig:
    return load_config("qwen3vl_8gpu", [f"model.path={model}", *SHARED, *overrides])


def status_of(config: RunConfig, gpu_gib: float) -> dict[str, str]:
    return {finding.name: finding.status for finding in examine_config(config, [], gpu_gib=gpu_gib)}


def test_adapters_take_a_hundredth_of_the_gradients_and_states() -> None:
    config = config_of(*LORA)
    shape = ModelShape.of_model(QWEN25_7B, config.learner)
    # Of each layer: queries and output 3,584 → 3,584, keys and values → 512, gate and up → 18,944, down back.
    sides = 2 * (3584 + 3584) + 2 * (3584 + 512) + 3 * (3584 + 18944)
    assert shape.num_trained == 28 * 32 * sides == 80_740_352
    matrices = 2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18944
    assert (shape.num_sent, shape.largest_adapted) == (28 * matrices, 3584 * 18944)
    assert shape.num_parameters == ModelShape.of_model(QWEN25_7B, config.learner.replace(lora=None)).num_parameters
    found = {need.what: need.num_bytes for need in learner_needs(shape, config.learner, config.rollout.engine)}
    assert found["weights"] == (shape.num_parameters + 80_740_352) * 2
    assert found["gradients"] == 80_740_352 * (2 + 4)
    assert found["optimiser states"] == 80_740_352 * (8 + 4)
    assert found["merged matrix"] == 3584 * 18944 * (4 + 4 + 2)
    assert found["gradient buckets"] == 2 * 100_000_000 * 4
    # The base is the reference, while the adapters are off.
    assert (found["reference"], config.learner.kl_coefficient) == (0.0, 0.01)
    # What travels is whole matrices: as much as is packed ahead, and a buffer for the largest tensor, the head.
    assert found["push buffers"] == 4 * GIB + 152_064 * 3584 * 2


def test_a_full_size_7b_with_adapters_fits_one_card_of_80_gb_beside_its_engine() -> None:
    assert status_of(config_of(*LORA), 80) == {"model": "ok", "learner's GPU": "ok", "engine's GPU": "ok"}
    whole = status_of(config_of("rollout.engine.gpu_memory_utilization=0.45"), 80)
    assert whole == {"model": "ok", "learner's GPU": "fail", "engine's GPU": "ok"}


def test_both_sides_of_a_shared_card_are_added_up_and_with_sleep_the_larger_phase_counts() -> None:
    config = config_of(*LORA)
    shape = ModelShape.of_model(QWEN25_7B, config.learner)
    images = image_tokens(shape, config)
    learner = total(learner_needs(shape, config.learner, config.rollout.engine, images))
    shapes = Shapes(shape, shape)
    always, _ = phases_of_card(shapes, config, 80)
    assert total(always.needs) == pytest.approx(learner + 0.45 * 80 * GIB)
    updating, generating, _ = phases_of_card(shapes, config_of(*LORA, "cluster.layout.sleep=true"), 80)
    assert total(updating.needs) == pytest.approx(learner + ASLEEP_BYTES)
    assert total(generating.needs) == pytest.approx((shape.num_parameters + shape.num_trained) * 2 + 0.45 * 80 * GIB)
    assert largest([updating, generating]) is generating
    finding = check_card([updating, generating], 80)
    assert "while the learner works (" in finding.detail
    # The engine's share is broken down.
    assert "while engines generate (engine's weights 15.4, " in finding.detail
    assert "keys and values 18.8" in finding.detail
    # Each rank beside a split layout's engines is alone.
    split = load_config("qwen3vl_8gpu", [f"model.path={QWEN25_7B}"])
    alone, _ = phases_of_card(shapes_of(QWEN25_7B, split.learner), split, 80)
    assert "engine" not in {need.what for need in alone.needs}


def test_what_leaves_the_card_is_counted_in_the_hosts_memory() -> None:
    config = config_of("learner.deepspeed.optimizer_offload=cpu", "learner.deepspeed.zero_stage=1")
    shape = ModelShape.of_model(QWEN25_7B, config.learner)
    on_card = {need.what: need.num_bytes for need in learner_needs(shape, config.learner, config.rollout.engine)}
    assert on_card["optimiser states"] == 0
    # Moments, masters, and the gradients that a step on the host reads.
    assert total(host_needs(shape, config.learner, sleeps=False)) == shape.num_trained * (8 + 4 + 4)
    plain = config_of()
    asleep = {need.what: need.num_bytes for need in host_needs(shape, plain.learner, sleeps=True)}
    assert asleep == {
        "optimiser states": shape.num_trained * 12,
        "gradients": shape.num_trained * 6,
        "reference": shape.num_parameters * 2,
    }
    assert total(host_needs(shape, plain.learner, sleeps=False)) == 0
    found = {f.name: f for f in examine_config(config, [], gpu_gib=80, available_bytes=100 * GIB)}
    assert found["memory for tensors"].status == "fail"
    assert "what the learner keeps off its GPUs" in found["memory for tensors"].detail


def test_images_take_memory_by_their_patches_and_a_frozen_tower_keeps_no_layer() -> None:
    vision = VisionShape(
        num_layers=32,
        hidden_size=1280,
        intermediate_size=3420,
        patches_per_token=4,
        token_pixels=28 * 28,
        patch_values=1176,
        is_gated=True,
        is_trained=False,
    )
    config = config_of()
    shape = ModelShape.of_model(QWEN25_7B, config.learner)
    assert shape.vision == VisionShape(**{**vars(vision), "is_trained": True})
    assert ModelShape.of_model(QWEN25_7B, config_of(*LORA).learner).vision == vision
    # A pass of 16,384 tokens, of which the half that are responses cannot be images'; five rows share one. And one more
    # image, as long as the longest prompt, or as the budget of pixels allows.
    shared = 16384 / 2 / 5
    assert image_tokens(shape, config_of("prompt.max_pixels=null")) == shared + 2048
    assert image_tokens(shape, config_of("prompt.max_pixels=784000")) == shared + 1000
    assert image_tokens(shape, config_of("training.group_size=2", "prompt.max_pixels=null")) == 8192 / 2 + 2048

    def image_bytes(vision: VisionShape, tokens: float) -> float:
        own = ModelShape(**{**vars(shape), "vision": vision})
        needs = learner_needs(own, config.learner, config.rollout.engine, tokens)
        return next(need.num_bytes for need in needs if need.what == "images")

    # In two bytes, and the inputs of its two norms in float32.
    inside = 2 * (11 * 1280 + 4 * 3420) + 4 * 2 * 1280
    assert image_bytes(vision, 8192) == 8192 * 4 * (1176 * 6 + inside)
    trained = VisionShape(**{**vars(vision), "is_trained": True})
    assert image_bytes(trained, 1000) == 1000 * 4 * (1176 * 6 + inside + 32 * 1280 * 2)


def test_the_settings_that_would_make_it_fit_are_named_nearest_first_and_do() -> None:
    tight = config_of(*LORA, "rollout.engine.gpu_memory_utilization=0.6")
    (finding,) = [f for f in examine_config(tight, [], gpu_gib=80) if f.name == "learner's GPU"]
    assert finding.status == "fail"
    named = re.findall(r"[a-z_.]+=[\w.]+", finding.advice)
    assert "rollout.engine.gpu_memory_utilization=0.45" in named
    assert "cluster.layout.sleep=true" in named
    for setting in named:
        fitting = config_of(*LORA, "rollout.engine.gpu_memory_utilization=0.6", setting)
        assert status_of(fitting, 80)["learner's GPU"] == "ok", setting
    # The next larger share would not do.
    assert status_of(config_of(*LORA, "rollout.engine.gpu_memory_utilization=0.5"), 80)["learner's GPU"] == "fail"


def test_settings_that_help_only_together_are_named_together() -> None:
    whole = config_of("rollout.engine.gpu_memory_utilization=0.45", "learner.deepspeed.activation_checkpointing=false")
    (finding,) = [f for f in examine_config(whole, [], gpu_gib=60) if f.name == "learner's GPU"]
    assert (finding.status, finding.advice.startswith("these together would be enough")) == ("fail", True)
    assert "learner.deepspeed.activation_checkpointing=true" in finding.advice
    hopeless = [f for f in examine_config(whole, [], gpu_gib=24) if f.name == "learner's GPU"]
    assert re.search(r"a larger card.* GiB would still be lacking", hopeless[0].advice)


def test_an_adapter_on_fewer_layers_is_smaller() -> None:
    learner = config_of(*LORA).learner
    few = learner.replace(last_language_layers=7, lora=LoraConfig(rank=16))
    shapes = [ModelShape.of_model(QWEN25_7B, config).num_trained for config in (learner, few)]
    assert shapes[0] == 8 * shapes[1]


def learners_gpu(config: RunConfig, gpu_gib: float) -> Finding:
    (finding,) = [found for found in examine_config(config, [], gpu_gib=gpu_gib) if found.name == "learner's GPU"]
    return finding


def of_preset(preset: str, model: str, *overrides: str) -> RunConfig:
    return load_config(preset, [f"model.path=tests/shapes/{model}", *overrides])


def test_a_cold_start_that_trains_more_than_reinforcement_learning_is_what_counts() -> None:
    few = of_preset(
        "qwen3vl_2b_1gpu",
        "Qwen2.5-VL-7B-Instruct",
        "learner.last_language_layers=1",
        "learner.deepspeed.activation_checkpointing=true",
    )
    shapes = shapes_of(QWEN25_7B, few.learner)
    # All 8.29 B are trained there, and one layer of 28 with the rest of the model later.
    assert shapes.of_cold_start.num_trained == shapes.of_cold_start.num_parameters > 8 * shapes.of_rl.num_trained
    finding = learners_gpu(few, 80)
    assert (finding.status, "in the cold start (weights 15.4, gradients 46.3" in finding.detail) == ("fail", True)
    # Without a reference, and of the same weights, it is smaller, and only its sum is shown.
    plain = learners_gpu(of_preset("qwen3vl_8gpu", "Qwen3-VL-4B-Instruct"), 80)
    assert (plain.status, plain.detail.endswith("GiB in the cold start of 80 GiB")) == ("ok", True)


def test_a_cold_starts_rows_each_have_images_of_their_own() -> None:
    config = config_of("prompt.max_pixels=784000")
    shape = ModelShape.of_model(QWEN25_7B, config.learner)
    # 16,384 tokens in rows of an image of 1,000 and 150 of text, but half of a pass is responses.
    assert image_tokens_of_rows(shape, config) == 16384 / 2
    small = config_of("prompt.max_pixels=78400")
    assert image_tokens_of_rows(shape, small) == 16384 * 100 / 250
    assert image_tokens_of_rows(shape, config_of("prompt.max_pixels=null")) == 16384 / 2


def test_pairs_of_settings_that_keep_full_training_come_before_adapters() -> None:
    advice = learners_gpu(of_preset("qwen3vl_2b_1gpu", "Qwen3-VL-4B-Instruct"), 80).advice
    pair = ["learner.deepspeed.activation_checkpointing=true", "learner.deepspeed.optimizer_offload=cpu"]
    assert advice.startswith(f"these together would be enough: {', '.join(pair)}; or ")
    assert learners_gpu(of_preset("qwen3vl_2b_1gpu", "Qwen3-VL-4B-Instruct", *pair), 80).status == "ok"
    # Adapters need rates of their own, in the cold start too.
    assert advice.endswith("learner.optimizer.learning_rate=2e-5 and learner.sft.optimizer.learning_rate=1e-4")


def test_an_engines_share_is_combined_with_other_settings() -> None:
    both_on_one = [
        "cluster.layout={type: shared}",
        "cluster.learner_rank_gpus=0",
        "rollout.engine.transfer={type: ipc}",
        "learner.num_ranks=1",
        "rollout.num_workers=1",
    ]
    advice = learners_gpu(of_preset("qwen3vl_8gpu", "Qwen3-VL-4B-Instruct", *both_on_one), 80).advice
    assert advice.startswith("these together would be enough: ")
    named = re.findall(r"[a-z_.]+=[\w.]+", advice)
    assert any(setting.startswith("rollout.engine.gpu_memory_utilization=") for setting in named)
    assert learners_gpu(of_preset("qwen3vl_8gpu", "Qwen3-VL-4B-Instruct", *both_on_one, *named), 80).status == "ok"


def test_an_engine_that_does_not_fit_is_told_the_share_that_would() -> None:
    small = of_preset("qwen25vl_7b_lora_1gpu", "Qwen2.5-VL-7B-Instruct")
    advice = learners_gpu(small, 24).advice
    assert re.search(r"gpu_memory_utilization=0\.75, .* \d+\.\d GiB would still be lacking", advice)
    assert "does not fit this one with any rollout.engine.gpu_memory_utilization" in learners_gpu(small, 16).advice
    shape, engine = ModelShape.of_model(QWEN25_7B, small.learner), small.rollout.engine
    found = check_engine(shape, engine.replace(gpu_memory_utilization=0.2), 80)
    assert (found.status, found.advice) == ("fail", "rollout.engine.gpu_memory_utilization=0.22 or more")
    assert check_engine(shape, engine.replace(gpu_memory_utilization=0.22), 80).status != "fail"


def test_more_layers_than_the_model_has_are_refused_with_their_number() -> None:
    config = of_preset("qwen3vl_2b_1gpu", "Qwen3-VL-2B-Instruct", "learner.last_language_layers=2000")
    (found,) = [finding for finding in examine_config(config, [], gpu_gib=80) if finding.status == "fail"]
    assert "learner.last_language_layers=2000, but the language model has 28 layers" in found.detail
