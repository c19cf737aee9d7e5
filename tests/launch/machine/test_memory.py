"""The arithmetic of memory, held against numbers worked out by hand."""

import time
from pathlib import Path

import pytest

from launch.machine.card_memory import CardPhase, check_card, check_engine, unknown_card
from launch.machine.findings import GIB
from launch.machine.fit import LocalNode, Node, check_host, check_room, examine_config, findings_for, requirements_of
from launch.machine.inspection import NO_REQUIREMENTS
from launch.machine.memory import engine_needs, kv_bytes_per_token, learner_needs, total
from launch.machine.shapes import ModelShape
from launch.settings.config import PRESETS, load_config
from learner.config import DeepSpeedConfig, LearnerConfig
from learner.optimizers.config import OptimizerConfig
from rollout.config import EngineConfig, IpcTransferConfig, NcclTransferConfig

# A round model: 8 G parameters, 36 layers.
SHAPE = ModelShape(
    num_parameters=8_000_000_000,
    num_trained=8_000_000_000,
    num_layers=36,
    hidden_size=4096,
    intermediate_size=12288,
    query_size=4096,
    kv_size=1024,
    has_head_norms=True,
    vocab_size=150_000,
)
ENGINE = EngineConfig(
    dtype="bfloat16", tensor_parallel_size=2, max_model_len=4096, max_num_seqs=128, transfer=NcclTransferConfig()
)


def make_learner(zero_stage: int, num_ranks: int, **layout: object) -> LearnerConfig:
    deepspeed = DeepSpeedConfig.model_validate(
        {
            "zero_stage": zero_stage,
            "dtype": "bfloat16",
            "micro_batch_rows": None,
            "micro_batch_tokens": 16384,
            "activation_checkpointing": True,
            **layout,
        }
    )
    return LearnerConfig(num_ranks=num_ranks, deepspeed=deepspeed)


def by_name(config: LearnerConfig, shape: ModelShape = SHAPE) -> dict[str, float]:
    return {need.what: need.num_bytes for need in learner_needs(shape, config, ENGINE)}


def test_zero_3_splits_weights_gradients_and_states_over_the_ranks() -> None:
    found = by_name(make_learner(3, 8))
    assert found["weights"] == found["reference"] == 2e9  # 8 G × 2 bytes / 8
    assert found["gradients"] == 6e9  # 8 G × (2 + 4) / 8
    assert found["optimiser states"] == 12e9  # 8 G × (8 + 4) / 8
    assert found["gathered layers"] == 2e9
    assert found["logits"] == 4 * 1024 * 150_000 * 4
    # 16,384 tokens × 36 inputs of 4,096 in two bytes, and one layer: 8 × 12,288 + 16 × 4,096 + 10 × (4,096 + 1,024)
    assert found["activations"] == 16384 * (36 * 4096 * 2 + 215_040)
    # 4 GiB packed, two buffers of 1,024 MB.
    assert found["push buffers"] == 4 * GIB + 2 * 1.024e9


@pytest.mark.parametrize(
    ("zero_stage", "weights", "gradients", "states"),
    [(1, 16e9, 48e9, 24e9), (2, 16e9, 12e9, 24e9), (3, 4e9, 12e9, 24e9)],
)
def test_each_stage_splits_one_more(zero_stage: int, weights: float, gradients: float, states: float) -> None:
    found = by_name(make_learner(zero_stage, 4))
    assert (found["weights"], found["gradients"], found["optimiser states"]) == (weights, gradients, states)


def test_what_is_frozen_has_neither_gradients_nor_states_and_no_penalty_no_reference() -> None:
    frozen = ModelShape(**{**vars(SHAPE), "num_trained": 1_000_000_000})
    config = make_learner(2, 1).replace(kl_coefficient=0.0)
    found = by_name(config, frozen)
    assert (found["gradients"], found["optimiser states"], found["reference"]) == (6e9, 12e9, 0.0)
    alone = LearnerConfig(
        optimizer=OptimizerConfig(type="adafactor", learning_rate=1e-2), deepspeed=DeepSpeedConfig(micro_batch_rows=2)
    )
    found = by_name(alone)
    # float32 throughout, nothing split, no moments; all of every layer is kept, of two rows of 4,096 tokens.
    assert (found["weights"], found["gradients"], found["optimiser states"]) == (32e9, 32e9, 0.0)
    # Of a layer 4 × (4 × 12,288 + 6 × 4,096 + 4 × (4,096 + 1,024)) bytes.
    assert found["activations"] == 2 * 4096 * 36 * 376_832


def test_an_engine_holds_its_share_of_the_weights_and_gives_the_rest_to_keys_and_values() -> None:
    found = {need.what: need.num_bytes for need in engine_needs(SHAPE, ENGINE)}
    assert found["weights"] == 8e9
    assert found["activations"] == 8192 * 2 * (2 * 4096 + (2 * 1024 + 2 * 12288) / 2)
    assert found["logits"] == 128 * 150_000 * 4
    assert kv_bytes_per_token(SHAPE, ENGINE) == 2 * 36 * 1024 * 2 / 2
    left = 0.85 * 40 * GIB - total(engine_needs(SHAPE, ENGINE))
    finding = check_engine(SHAPE, ENGINE, 40)
    assert f"{left / 73728:,.0f} tokens" in finding.detail
    assert (finding.status, check_engine(SHAPE, ENGINE, 11).status) == ("ok", "fail")
    assert check_engine(SHAPE, ENGINE, 20).status == "warn"
    assert "--rollout-gpu-gib" in check_engine(SHAPE, ENGINE, None).advice


def test_a_bonus_on_the_entropy_keeps_two_more_tensors_of_logits() -> None:
    assert by_name(make_learner(3, 8).replace(entropy_coefficient=0.001))["logits"] == 6 * 1024 * 150_000 * 4


def test_a_shared_buffer_is_counted_as_large_as_the_largest_tensor() -> None:
    def push_bytes(bucket_mb: float) -> float:
        engine = ENGINE.replace(transfer=IpcTransferConfig(bucket_mb=bucket_mb, pack_gib=0))
        return {need.what: need.num_bytes for need in learner_needs(SHAPE, make_learner(3, 8), engine)}["push buffers"]

    assert push_bytes(2048) == 2.048e9
    assert push_bytes(1024) == 150_000 * 4096 * 2


def test_host_memory_that_is_not_there_fails() -> None:
    needed = {"learner": 60.0 * GIB, "engines": 37.6 * GIB}
    finding = check_host(needed, int(23 * GIB))
    assert (finding.status, finding.detail) == (
        "fail",
        "97.6 GiB of host memory for tensors (learner and engines), 23.0 GiB available",
    )
    assert check_host(needed, int(98 * GIB)).status == "ok"
    assert check_host(needed, None).status == "ok"


def test_only_what_computes_on_the_host_takes_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelShape, "of_model", lambda path, learner: SHAPE)

    def found(*overrides: str) -> dict[str, str]:
        config = load_config("qwen3vl_8gpu", ["learner.num_ranks=4", *overrides])
        return {f.name: f.status for f in examine_config(config, [], gpu_gib=80, available_bytes=20 * GIB)}

    assert found() == {"model": "warn", "learner's GPU": "fail", "engine's GPU": "ok"}
    on_host = ["rollout.gpus_per_worker=0", "rollout.engine.transfer={type: gloo}"]
    assert found(*on_host) == {"model": "warn", "learner's GPU": "fail", "memory for tensors": "fail"}
    assert found("cluster.learner_rank_gpus=0", "rollout.engine.transfer={type: gloo}") == {
        "model": "warn",
        "engine's GPU": "ok",
        "memory for tensors": "fail",
    }


def test_a_machine_without_gpus_is_not_fit_for_a_config_that_asks_for_eight() -> None:
    required = requirements_of(load_config("qwen3vl_8gpu"))
    assert (required.num_gpus, required.learner_on_gpu, required.engines_on_gpu, required.nccl) == (8, True, True, True)
    assert required.attention == "auto"
    # A cluster's GPUs are not this machine's.
    assert requirements_of(load_config("cluster_8b")).num_gpus == 0
    assert requirements_of(load_config("cluster_8b")).on_gpu
    assert requirements_of(load_config("demo")) == NO_REQUIREMENTS


def test_no_preset_names_an_attention_that_its_lock_leaves_out() -> None:
    lock = Path("requirements/gpu.lock").read_text(encoding="utf-8")
    assert "flash-attn==" not in lock
    assert "flash-attn-4==" in lock
    for preset in PRESETS.glob("*.yaml"):
        assert load_config(preset).learner.deepspeed.attention in ("auto", "sdpa", "eager", "flash_attention_4")


def test_a_model_that_is_not_there_is_one_finding_among_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = load_config("qwen3vl_8gpu", ["model.path=Nobody/No-Such-Model"])
    started_s = time.monotonic()
    findings = {finding.name: finding for finding in findings_for(config)}
    # The network is not asked.
    assert time.monotonic() - started_s < 20
    assert findings["model"].status == "fail"
    assert "`hf download Nobody/No-Such-Model`" in findings["model"].detail
    assert {"python", "disk", "home", "torch build", "NCCL", "GPUs"} <= findings.keys()
    assert findings["NCCL"].status == findings["GPUs"].status == "fail"


def test_this_machines_gpus_bound_what_is_on_it_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelShape, "of_model", lambda path, learner: SHAPE)

    def found(num_gpus: int, *overrides: str) -> dict[str, str]:
        node = LocalNode({"GPU": num_gpus}, local_gpu_gib=141.0)
        config = load_config("qwen3vl_8gpu", ["learner.num_ranks=4", "rollout.num_workers=4", *overrides])
        return {f.name: f.status for f in examine_config(config, [node])}

    assert found(4)["learner ranks"] == found(4)["rollout workers"] == "ok"
    assert (found(3)["learner ranks"], found(3)["engine's GPU"]) == ("fail", "ok")
    # Custom resources and CPUs are given as they are asked for.
    assert found(4, "cluster.learner_resources={learner: 1}")["learner ranks"] == "ok"
    on_host = ["rollout.gpus_per_worker=0", "rollout.engine.transfer={type: gloo}"]
    assert "rollout workers" not in found(4, *on_host)


def test_no_cluster_at_the_address_is_a_finding_too() -> None:
    findings = findings_for(load_config("demo", ["cluster.address=127.0.0.1:1"]))
    (cluster,) = [finding for finding in findings if finding.name == "cluster"]
    assert (cluster.status, "127.0.0.1:1" in cluster.detail) == ("warn", True)
    assert any(finding.name == "memory for tensors" for finding in findings)


def test_a_learner_that_does_not_fit_is_told_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    phase = CardPhase("", learner_needs(SHAPE, make_learner(3, 8), ENGINE))
    needed = total(phase.needs) / GIB
    assert check_card([phase], needed / 0.9 + 0.1).status == "ok"
    too_small = check_card([phase], needed / 0.9 - 0.1, advice="learner.num_ranks=16")
    assert (too_small.status, too_small.advice) == ("fail", "learner.num_ranks=16")
    assert unknown_card([phase]).status == "warn"
    monkeypatch.setattr(ModelShape, "of_model", lambda path, learner: SHAPE)
    findings = {f.name: f for f in examine_config(load_config("qwen3vl_8gpu"), [], gpu_gib=70)}
    assert "learner.deepspeed.zero_stage=3" in findings["learner's GPU"].advice


def test_room_is_counted_node_by_node() -> None:
    learners, rollouts = Node({"CPU": 64, "GPU": 8, "learner": 8}), Node({"CPU": 32, "GPU": 8, "rollout": 8})
    rank = {"CPU": 8, "GPU": 1, "learner": 1}
    assert [node.holds(rank) for node in (learners, rollouts)] == [8, 0]
    # 32 cores bound the second node to four such workers.
    assert rollouts.holds({"CPU": 8, "GPU": 2, "rollout": 2}) == 4
    assert check_room("ranks", rank, 8, [learners, rollouts], may_grow=False).status == "ok"
    assert check_room("ranks", rank, 9, [learners, rollouts], may_grow=False).status == "fail"
    assert check_room("ranks", rank, 9, [learners, rollouts], may_grow=True).status == "warn"


def test_the_preset_of_8_b_fits_the_cluster_that_it_is_written_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelShape, "of_model", lambda path, learner: SHAPE)
    learners = Node({"CPU": 96, "GPU": 8, "learner": 8, "accelerator_type:A100-80G": 1})
    rollouts = [Node({"CPU": 96, "GPU": 8, "rollout": 8, "accelerator_type:A100-40G": 1})] * 2
    config = load_config("cluster_8b")
    statuses = {f.name: f.status for f in examine_config(config, [learners, *rollouts])}
    assert statuses == {
        "learner ranks": "ok",
        "rollout workers": "ok",
        "model": "warn",
        "learner's GPU": "ok",
        "engine's GPU": "ok",
    }
    small = examine_config(config, [], gpu_gib=24)
    assert [f.status for f in small] == ["warn", "fail", "ok"]


def test_the_demos_model_is_measured_from_its_folder() -> None:
    config = load_config("demo")
    findings = {f.name: f.detail for f in examine_config(config, [])}
    # 1.2 M parameters, of which the cold start's freezing is not RL's: one layer and a norm are trained.
    shape = ModelShape.of_model("assets/tiny-base", config.learner)
    weights = sum(file.stat().st_size for file in Path("assets/tiny-base").glob("*.safetensors"))
    assert 0 < shape.num_trained < shape.num_parameters / 4
    # Our projector for regions is counted with what fragments take: of so small a model it is 4 %.
    assert shape.num_parameters * 4 == pytest.approx(weights, rel=0.05)
    assert "GiB of host memory" in findings["memory for tensors"]
