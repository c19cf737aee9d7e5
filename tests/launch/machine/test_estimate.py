"""The arithmetic of time, held against numbers worked out by hand on a round model and a round card."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from launch.machine.estimate import (
    EAGER_LAYER_S,
    GRAPH_STEP_S,
    IPC_GB_PER_S,
    LEARNER_SHARE,
    LINK_SHARE,
    PADDED_SHARE,
    PUSH_S,
    READING_SHARE,
    Estimator,
    Part,
    StepEstimate,
    Workload,
    describe_step,
)
from launch.machine.fit import LocalNode, Node, Told, examine_time, gpu_kind_for
from launch.machine.measured import benchmarked, compare, last_measured
from launch.machine.shapes import ModelShape
from launch.machine.timing import (
    DEADLINE_FACTOR,
    ModelFacts,
    assumed_workload,
    check_update_deadline,
    derived_deadline_s,
    estimated_update_s,
    longest_update_s,
)
from launch.run.deadlines import with_update_deadline
from launch.settings.config import ConfigError, RunConfig, load_config
from learner.cards import CardKind, card_kind
from learner.flops import AttentionLayers, Matrices, ModelFlops

# A language model of a billion matrix entries and a head of a hundred million; nothing else costs time.
FLOPS = ModelFlops(
    text=Matrices(10**9, 10**9, 10**9),
    head=Matrices(10**8, 10**8, 10**8),
    projector=Matrices(),
    vision=Matrices(),
    text_attention=AttentionLayers(0, 0, 0),
    vision_attention=(),
    patches_per_token=4,
)
SHAPE = ModelShape(
    num_parameters=1_100_000_000,
    num_trained=1_100_000_000,
    num_layers=20,
    hidden_size=2000,
    intermediate_size=4000,
    query_size=2000,
    kv_size=1000,
    has_head_norms=True,
    vocab_size=50_000,
)
CARD = CardKind(("ROUND",), 1000, 500, 1000, 100, 100)
WORK = Workload(text_tokens=100, image_tokens=300, response_tokens=200)
MODELS = Path("launch/shapes")


def make_config(*overrides: str) -> RunConfig:
    settings = (
        "training.groups_per_step={lor: 32, dtr: 32}",
        "training.group_size=8",
        "training.max_staleness=0",
        "learner.num_ranks=2",
        "learner.optimizer_steps_per_batch=1",
        "learner.kl_coefficient=0",
        "learner.deepspeed.zero_stage=1",
        "learner.deepspeed.activation_checkpointing=false",
        "rollout.num_workers=2",
        "rollout.sampling.max_response_tokens=400",
        "rollout.engine.max_num_seqs=128",
    )
    return load_config("qwen3vl_8gpu", [*settings, *overrides])


def make_estimator(*overrides: str, **changes: Any) -> Estimator:
    made = Estimator(make_config(*overrides), SHAPE, FLOPS, CARD, CARD, WORK)
    return replace(made, **changes)


def test_an_update_takes_its_operations_at_the_share_of_the_peak_that_is_stated() -> None:
    # 512 responses of 600 tokens, a third of which pass the head.
    operations = 512 * (6 * 1e9 * 600 + 6 * 1e8 * 200)
    update = make_estimator().update()
    assert update.seconds == pytest.approx(operations / (2 * 1000e12 * LEARNER_SHARE))
    assert update.bound == "the learner's arithmetic"
    again = make_estimator("learner.deepspeed.activation_checkpointing=true").update()
    forward = 512 * (2 * 1e9 * 600 + 2 * 1e8 * 200)
    assert again.seconds == pytest.approx((operations + forward) / (2 * 1000e12 * LEARNER_SHARE))
    for padded in ("learner.deepspeed.attention=sdpa", "learner.deepspeed.packing=false"):
        assert make_estimator(padded).update().seconds == pytest.approx(operations / (2 * 1000e12 * PADDED_SHARE))
    packed = ("learner.deepspeed.attention=sdpa", "learner.deepspeed.packing=true")
    assert make_estimator(*packed).update().seconds == update.seconds
    assert make_estimator("cluster.peak_tflops=500").update().seconds == pytest.approx(2 * update.seconds)


def test_a_slow_link_bounds_an_update_of_ranks_that_gather_weights_for_every_pass() -> None:
    slow = replace(CARD, link_gb_per_s=1.0)
    overrides = ("learner.deepspeed.zero_stage=3", "learner.deepspeed.micro_batch_tokens=6000")
    update = make_estimator(*overrides, learner_card=slow).update()
    assert update.bound == "the link between learner ranks"
    # 307,200 tokens on two ranks in passes of 6,000: 26. Each sends gradients in float32 and weights twice in bfloat16.
    num_bytes = 0.5 * 26 * 1.1e9 * (4 + 2 * 2)
    assert update.seconds == pytest.approx(num_bytes / (1e9 * LINK_SHARE))
    assert make_estimator(*overrides, "learner.num_ranks=1").update().bound == "the learner's arithmetic"


def test_generation_reads_weights_and_keys_for_each_token_and_waits_for_the_longest_response() -> None:
    generation = make_estimator().generation()
    weights, logits = 1.1e9 * 2, 50_000 * 4 * 6
    keys = 500 * 2 * 20 * 1000 * 2  # a prompt and half a response, two of 1,000 entries in each of 20 layers
    rate = 1000e9 * READING_SHARE
    full_s = (weights + 128 * (keys + logits)) / rate
    assert full_s > GRAPH_STEP_S
    prompts_s = 32 * 400 * 2e9 / (1000e12 * 0.5)
    tail_s = 200 * max(GRAPH_STEP_S, (weights + keys + logits) / rate)
    assert generation.seconds == pytest.approx(prompts_s + 256 * 200 / 128 * full_s + tail_s)
    assert generation.bound == "the engines' memory bandwidth"
    # The next step's responses take seats that become free.
    overlapped = make_estimator("training.max_staleness=1").generation()
    assert overlapped.seconds == pytest.approx(generation.seconds - tail_s)


def test_an_eager_engine_is_bound_by_its_host_and_a_full_card_by_its_room() -> None:
    eager = make_estimator("rollout.engine.enforce_eager=true", "rollout.engine.max_num_seqs=8").generation()
    assert "enforce_eager=false" in eager.bound
    assert eager.seconds > 256 * 200 / 8 * 20 * EAGER_LAYER_S
    small = make_estimator(engine_card=replace(CARD, gib=6)).generation()
    assert small.bound.startswith("room for keys and values")


def test_a_push_takes_the_way_that_the_transfer_has() -> None:
    num_bytes = 1.1e9 * 2
    assert make_estimator().push().seconds == pytest.approx(PUSH_S + num_bytes / (100e9 * LINK_SHARE))
    shared = (
        "cluster.layout={type: shared, sleep: true}",
        "rollout.engine.transfer={type: ipc}",
        "rollout.gpus_per_worker=0",
        "cluster.learner_rank_gpus=0",
    )
    estimate = make_estimator(*shared).step()
    assert estimate.of("push") == pytest.approx(PUSH_S + num_bytes / (IPC_GB_PER_S * 1e9))
    # Half of the states and gradients, 12 + 4 bytes a weight, to the host and back at 50 GB/s.
    assert estimate.of("sleep and wake") == pytest.approx(1.0 + 2 * 1.1e9 / 2 * 16 / 50e9)
    with_reference = make_estimator(*shared, "learner.kl_coefficient=0.01").taking_turns()
    assert with_reference.seconds == pytest.approx(estimate.of("sleep and wake") + 1.1e9 * 2 / 50e9)


def test_adapters_send_the_matrices_that_they_change_and_a_sleeping_engine_gets_all() -> None:
    shared = ("rollout.engine.transfer={type: ipc}", "rollout.gpus_per_worker=0", "cluster.learner_rank_gpus=0")
    adapters = replace(SHAPE, num_trained=20_000_000, num_sent=1_000_000_000)
    lora = ("learner.lora={rank: 32}", "learner.optimizer.learning_rate=2e-5")
    awake = make_estimator(*shared, *lora, "cluster.layout={type: shared}", shape=adapters)
    assert awake.push().seconds == pytest.approx(PUSH_S + 1e9 * 2 / (IPC_GB_PER_S * 1e9))
    asleep = make_estimator(*shared, *lora, "cluster.layout={type: shared, sleep: true}", shape=adapters)
    assert asleep.push().seconds == pytest.approx(PUSH_S + 1.1e9 * 2 / (IPC_GB_PER_S * 1e9))


def test_optimiser_steps_in_host_memory_come_on_top() -> None:
    on_host = make_estimator("learner.deepspeed.optimizer_offload=cpu").update()
    # Half of the weights a rank, a nanosecond each, and 4 + 2 bytes of each over the bus.
    assert on_host.seconds == pytest.approx(make_estimator().update().seconds + 0.55 + 0.55e9 * 6 / 50e9)


def test_phases_add_up_where_they_take_turns_and_the_longer_side_counts_where_they_do_not() -> None:
    parts = (Part("generation", 30.0, "reading"), Part("update", 20.0, "arithmetic"), Part("push", 2.0, "link"))
    turns, at_once = StepEstimate(parts, at_once=False), StepEstimate(parts, at_once=True)
    assert (turns.seconds, at_once.seconds) == (52.0, 30.0)
    assert turns.longest.bound == at_once.longest.bound == "reading"
    slow_learner = StepEstimate((replace(parts[0], seconds=21.0), *parts[1:]), at_once=True)
    assert (slow_learner.seconds, slow_learner.longest.bound) == (22.0, "arithmetic")
    assert describe_step(turns, 200) == (
        "a step in 52 s (generation 30 s, update 20 s, push 2.0 s); 200 steps in 2.9 h; bounded by reading"
    )


def test_on_a_shared_card_the_phases_add_up_although_answers_may_be_older() -> None:
    shared = (
        "cluster.layout={type: shared}",
        "rollout.engine.transfer={type: ipc}",
        "rollout.gpus_per_worker=0",
        "cluster.learner_rank_gpus=0",
    )
    assert not make_estimator(*shared, "training.max_staleness=1").step().at_once
    assert make_estimator("training.max_staleness=1").step().at_once


def test_an_assumed_prompt_is_no_longer_than_the_model_and_the_sequence_let_it_be() -> None:
    demo = load_config("demo_gpu")
    facts = ModelFacts.of_config(demo, demo.model.path)  # type: ignore[union-attr]
    work = assumed_workload(demo, facts.pixels_per_token, max_pixels=facts.max_pixels)
    assert work.image_tokens == 64
    longest = demo.rollout.sampling.max_response_tokens
    assert assumed_workload(demo, 4).prompt_tokens + longest == demo.rollout.engine.max_model_len


def test_what_nobody_knows_before_a_run_is_assumed_from_the_config_and_said() -> None:
    config = make_config("prompt.max_pixels=400000")
    assert assumed_workload(config, 1024) == Workload(250, 390, 200)
    assert assumed_workload(config, 1024, response_tokens=300).response_tokens == 300
    assert assumed_workload(make_config("prompt.max_pixels=null"), 1024).image_tokens == 976
    assert WORK.describe() == "prompts of 400 tokens (300 of the image) and responses of 200"


def test_the_deadline_of_an_update_is_three_times_the_longest_and_half_an_hour_at_least() -> None:
    slow = make_estimator(learner_card=replace(CARD, bf16_tflops=1))
    assert longest_update_s(slow) == pytest.approx(slow.update(response_tokens=400).seconds)
    assert (derived_deadline_s(20), derived_deadline_s(2000)) == (1800, DEADLINE_FACTOR * 2000)
    assert check_update_deadline(make_config(), 2000).detail == "6,000 s"
    set_too_short = check_update_deadline(make_config("cluster.deadlines.update_s=1600"), 2000)
    assert set_too_short.status == "fail"
    assert set_too_short.detail == ("cluster.deadlines.update_s=1600, but one with responses of 400 takes 2,000 s")
    assert check_update_deadline(make_config("cluster.deadlines.update_s=2500"), 2000).status == "ok"
    # Below half an hour too, a deadline must be enough.
    short = make_config("cluster.deadlines.update_s=20", "learner.deepspeed.collective_timeout_s=10")
    assert [check_update_deadline(short, needed_s).status for needed_s in (19, 21)] == ["ok", "fail"]


def test_a_run_takes_the_derived_deadline_and_keeps_one_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    model = f"model.path={MODELS / 'Qwen3-VL-8B-Instruct'}"
    monkeypatch.setattr("launch.run.deadlines.nodes_of_ray", lambda: [])
    config = load_config("qwen3vl_8gpu", [model, "training.group_size=32", "learner.deepspeed.zero_stage=3"])
    console = Console(quiet=True)
    derived = with_update_deadline(config, console).cluster.deadlines
    # A card of an unknown kind counts as a slow one.
    assert derived.update_s == 3 * estimated_update_s(config, config.model.path, None) > 10_000
    assert derived.until_checkpoint_s == derived.update_s + derived.push_s + derived.save_s
    kept = config.replace(cluster=config.cluster.replace(deadlines=derived.replace(update_s=2000)))
    assert with_update_deadline(kept, console) is kept
    # On cards of a known kind one that cannot be enough is refused.
    h100 = Node({"GPU": 8, "CPU": 64, "accelerator_type:H100": 1})
    monkeypatch.setattr("launch.run.deadlines.nodes_of_ray", lambda: [h100])
    short = config.replace(
        cluster=config.cluster.replace(deadlines=derived.replace(update_s=20)),
        learner=config.learner.replace(deepspeed=config.learner.deepspeed.replace(collective_timeout_s=10)),
    )
    with pytest.raises(ConfigError, match=r"update_s=20, but one with responses of .* takes .* leave it out"):
        with_update_deadline(short, console)
    on_cpu = load_config("demo")
    assert with_update_deadline(on_cpu, console) is on_cpu
    assert on_cpu.cluster.deadlines.longest_update_s == 1800


def write_metrics(folder: Path, kind: str, age_s: float) -> None:
    folder.mkdir()
    step = {"gpu/kind": kind, "time/step_s": 43.0, "time/rollout_s": 22.0, "gpu/tokens_per_s": 7600.0, "gpu/mfu": 0.33}
    first = {"step": 1, **step, "time/step_s": 90.0}
    lines = [first, {"step": 2, **step}, {"step": 3, **step}]
    file = folder / "metrics.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.json").write_text(json.dumps({"model": {"type": "checkpoint", "path": "Qwen/Qwen3-VL-2B"}}))
    os.utime(file, (file.stat().st_atime, file.stat().st_mtime - age_s))


def test_the_estimate_stands_beside_the_newest_run_on_the_same_kind_of_card(tmp_path: Path) -> None:
    write_metrics(tmp_path / "older", "NVIDIA H100 80GB HBM3", 20)
    write_metrics(tmp_path / "newer", "NVIDIA H100 80GB HBM3", 10)
    write_metrics(tmp_path / "elsewhere", "NVIDIA A100-SXM4-80GB", 0)
    kind = card_kind("H100")
    assert kind is not None
    measured = last_measured(tmp_path, kind)
    assert measured is not None
    # Its first steps, when nothing is warm, are left out.
    assert compare(measured, StepEstimate((Part("generation", 20.0, ""),), at_once=False)) == (
        "newer (Qwen/Qwen3-VL-2B) on NVIDIA H100 80GB HBM3: a step in 43.0 s, generation 22.0 s (estimated here: "
        "20.0 s), 7,600 tokens/s a GPU, MFU 33%"
    )
    assert last_measured(tmp_path / "older", kind) is None


def test_without_such_a_run_the_benchmarks_fastest_step_stands_there(tmp_path: Path) -> None:
    def figure(name: str, value: float, card: str = "NVIDIA H100 80GB HBM3") -> str:
        return json.dumps({"part": "step", "name": name, "value": value, "card": card}) + "\n"

    lines = [
        figure("shared: a step", 80.0),
        figure("shared: a step", 50.0),
        figure("shared: share of update", 0.5),
        figure("asleep: a step", 40.0),
        figure("asleep: share of update", 0.6),
        figure("asleep: tokens", 8000.0),
        figure("asleep: MFU of updates", 0.31),
        figure("asleep: a step", 1.0, card="NVIDIA H200"),
        json.dumps({"part": "step", "name": "shared: failed", "value": None, "card": "NVIDIA H100 80GB HBM3"}) + "\n",
    ]
    (tmp_path / "gpu.jsonl").write_text("".join(lines))
    kind, other = card_kind("H100"), card_kind("A100")
    assert kind is not None
    assert other is not None
    found = benchmarked(kind, tmp_path)
    assert found is not None
    assert found.figures == {
        "time/step_s": 40.0,
        "time/update_s": pytest.approx(24.0),
        "gpu/tokens_per_s": 8000.0,
        "gpu/mfu": 0.31,
    }
    told = compare(found, StepEstimate((Part("generation", 20.0, ""), Part("update", 21.0, "")), at_once=False))
    assert told.startswith("benchmarks.gpu (asleep, ")
    assert "update 24.0 s (estimated here: 21.0 s)" in told
    assert benchmarked(other, tmp_path) is None
    assert benchmarked(kind, tmp_path / "nowhere") is None


def test_doctor_names_time_bound_and_deadline_and_asks_for_a_card_that_it_does_not_know(tmp_path: Path) -> None:
    model = [f"model.path={MODELS / 'Qwen3-VL-4B-Instruct'}", f"run={tmp_path / 'runs' / 'mine'}"]
    config = load_config("qwen3vl_8gpu", model)
    h100 = LocalNode({"GPU": 8.0}, 79.6, "NVIDIA H100 80GB HBM3")
    found = {finding.name: finding for finding in examine_time(config, [h100], Told())}
    assert [name for name in found if name != "last measured run"] == ["time of a step", "deadline of an update"]
    assert "bounded by" in found["time of a step"].detail
    assert found == {finding.name: finding for finding in examine_time(config, [], Told(gpu="H100"))}
    (unknown,) = examine_time(config, [LocalNode({"GPU": 8.0}, 16.0, "Radeon")], Told())
    assert (unknown.status, "--gpu H100" in unknown.advice) == ("warn", True)
    assert examine_time(load_config("demo"), [], Told(gpu="H100")) == []


def test_the_slowest_card_that_an_actor_may_get_counts() -> None:
    nodes = [Node({"GPU": 8, f"accelerator_type:{kind}": 1}) for kind in ("H100", "A100-80G")]
    assert gpu_kind_for(nodes, {"GPU": 1}) == "A100-80G"
    assert gpu_kind_for([*nodes, Node({"GPU": 8})], {"GPU": 1}) is None
    assert gpu_kind_for(nodes, {"GPU": 16}) is None


def test_an_image_token_stands_for_the_pixels_of_its_family() -> None:
    for model, pixels in (("Qwen3-VL-2B-Instruct", 32 * 32), ("Qwen2.5-VL-7B-Instruct", 28 * 28)):
        config = make_config(f"model.path={MODELS / model}")
        assert ModelFacts.of_config(config, MODELS / model).pixels_per_token == pixels
