"""The engine on real vLLM: what comes out, and what new weights change."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist

from flow.trajectory import Trajectory
from learner.config import LearnerConfig
from learner.freezing import freeze
from learner.weights import DeepSpeedWeightSource
from rollout.canary import choose_canary, mean_difference
from rollout.config import CanaryConfig, EngineConfig
from rollout.engine import EngineSpec, RolloutEngine
from rollout.errors import EngineStartError, TransferError, WorkersFailedError
from rollout.transfer.buckets import plan_buckets
from rollout.transfer.gloo_group import GlooGroup
from rollout.transfer.gloo_messages import GlooUpdateInfo
from spatial.sample import BadImageError, ImageRef, ReasoningPath, SpatialSample
from vlm.policy import Policy

from .conftest import PROMPT, QUESTION, TOLERANCE, EngineHost, PolicySource, TinyWorld, channel_to
from .transfer.receivers import ThreadReceiver

pytestmark = pytest.mark.stack


def disturb(policy: Policy, scale: float, only: str = "") -> None:
    """Change the weights whose name holds `only`, enough to be seen in every log-probability."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in policy.vlm.named_parameters():
            if only in name:
                tensor.add_(torch.randn(tensor.shape, generator=generator) * scale)


def distance(world: TinyWorld, policy: Policy, trajectory: Trajectory, temperature: float = 1.0) -> float:
    """Largest difference between the engine's and the learner's log-probabilities of one response."""
    learner = world.learner_logprobs(policy, trajectory, temperature)
    return (torch.tensor(trajectory.rollout_logprobs) - learner).abs().max().item()


def test_a_response_is_aligned_with_its_prompt_and_its_text(host: EngineHost, world: TinyWorld) -> None:
    trajectory = host.run(host.engine.generate(world.request(seed=3, max_tokens=400)))
    assert trajectory.prompt_token_ids == world.encoder.prompt_token_ids(world.samples[0], ReasoningPath.DTR)
    assert len(trajectory.rollout_logprobs) == len(trajectory.response_token_ids)
    assert max(trajectory.rollout_logprobs) < 0
    is_ended = trajectory.response_token_ids[-1] == world.encoder.end_token_id
    assert is_ended == (trajectory.finish_reason == "stop")
    assert "<|im_end|>" not in trajectory.response_text


def test_the_tags_of_the_grammar_stay_in_the_text(host: EngineHost, world: TinyWorld) -> None:
    texts = [host.run(host.engine.generate(world.request(seed=seed, max_tokens=64))).response_text for seed in range(4)]
    assert any(tag in text for text in texts for tag in ("<think>", "</think>", "<answer>", "</answer>"))


def test_a_seed_decides_the_response(host: EngineHost, world: TinyWorld) -> None:
    first, again, other = (host.run(host.engine.generate(world.request(seed=seed))) for seed in (7, 7, 8))
    assert first == again
    assert first.response_token_ids != other.response_token_ids


def test_more_prompts_than_one_step_of_vllm_takes_by_default(host: EngineHost, world: TinyWorld) -> None:
    """A seeded prompt that vLLM splits over two steps kills its CPU worker; 40 of them exceed its 2,048 tokens."""
    pending = [host.submit(host.engine.generate(world.request(i % 4, seed=i, max_tokens=8))) for i in range(40)]
    assert all(len(future.result(timeout=120).response_token_ids) <= 8 for future in pending)


def test_after_a_push_engine_and_learner_agree_and_before_it_they_do_not(
    host: EngineHost, world: TinyWorld, policy: Policy
) -> None:
    disturb(policy, 0.05)
    assert distance(world, policy, host.run(host.engine.generate(world.request(seed=1)))) > 0.1
    host.push(policy, version=10)
    assert host.run(host.engine.update.weight_version()) == 10
    for index, temperature in ((0, 1.0), (1, 1.0), (2, 0.7)):
        trajectory = host.run(host.engine.generate(world.request(index, seed=1, temperature=temperature)))
        assert distance(world, policy, trajectory, temperature) < TOLERANCE
        assert trajectory.min_weight_version == 10


def test_new_vision_weights_change_what_is_seen_in_an_image_met_before(
    host: EngineHost, world: TinyWorld, policy: Policy
) -> None:
    host.push(policy, version=20)
    before = host.run(host.engine.generate(world.request(seed=2)))
    disturb(policy, 0.2, only="visual")
    assert distance(world, policy, before) > 10 * TOLERANCE
    host.push(policy, version=21)
    after = host.run(host.engine.generate(world.request(seed=2)))
    assert before.images == after.images
    assert distance(world, policy, after) < TOLERANCE


def test_checksums_tell_which_tensors_a_push_changed_and_match_what_was_sent(
    host: EngineHost, world: TinyWorld, policy: Policy
) -> None:
    host.push(policy, version=30)
    (first,) = host.run(host.engine.update.received_checksums())
    disturb(policy, 0.1, only="merger")
    sent = host.push(policy, version=31)
    (second,) = host.run(host.engine.update.received_checksums())
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {name for name in first if "merger" in name} != set()
    assert sent == second


def test_what_is_frozen_is_not_sent_and_stays(host: EngineHost, world: TinyWorld, policy: Policy) -> None:
    disturb(policy, 0.05)
    freeze(policy.vlm, LearnerConfig(freeze=("vision", "projector", "region"), last_language_layers=1))
    source = DeepSpeedWeightSource(policy.vlm, torch.float32)
    everything = host.push(policy, version=35, source=source)
    source = source.trained()
    disturb(policy, 0.1, only="layers.2.")
    sent = host.push(policy, version=36, source=source)
    trained = ("model.language_model.layers.2.", "model.language_model.norm.")
    assert set(sent) == {name for name in everything if name.startswith(trained)}
    assert distance(world, policy, host.run(host.engine.generate(world.request(seed=1)))) < TOLERANCE
    disturb(policy, 0.1, only="layers.0.")  # frozen: the engine does not get to know
    host.push(policy, version=37, source=source)
    assert distance(world, policy, host.run(host.engine.generate(world.request(seed=1)))) > 10 * TOLERANCE


def push_under_way(
    host: EngineHost, world: TinyWorld, policy: Policy, version: int, question: str = QUESTION
) -> list[Trajectory]:
    """Responses before, while and after a push: the engine takes 16 at once, so four times as many last."""
    requests = [world.request(i % 4, seed=100 + i, max_tokens=300, question=question) for i in range(64)]
    pending = [host.submit(host.engine.generate(request)) for request in requests]
    time.sleep(0.3)
    host.push(policy, version=version)
    return [future.result(timeout=120) for future in pending]


def test_each_token_of_a_response_under_way_names_and_fits_the_weights_that_made_it(
    host: EngineHost, world: TinyWorld, policy: Policy
) -> None:
    host.push(policy, version=40)
    num_checked = 0
    old = {name: tensor.clone() for name, tensor in policy.vlm.state_dict().items()}
    disturb(policy, 0.05)
    new = {name: tensor.clone() for name, tensor in policy.vlm.state_dict().items()}
    trajectories = push_under_way(host, world, policy, version=41)
    for trajectory in trajectories:
        if [span.weight_version for span in trajectory.version_spans] != [40, 41]:
            continue
        split = trajectory.version_spans[0].num_tokens
        engine = torch.tensor(trajectory.rollout_logprobs)
        policy.vlm.load_state_dict(new)
        by_new = world.learner_logprobs(policy, trajectory)
        policy.vlm.load_state_dict(old)
        by_old = world.learner_logprobs(policy, trajectory)
        assert (engine - by_old)[:split].abs().max() < TOLERANCE
        assert (engine - by_new)[split:].abs().max() < TOLERANCE
        num_checked += 1
    assert num_checked > 0, [trajectory.version_spans for trajectory in trajectories]


def test_kept_keys_and_values_do_not_serve_later_requests(
    host: EngineHost, world: TinyWorld, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = host.engine.update._config.replace(in_flight_kv="keep")
    monkeypatch.setattr(host.engine.update, "_config", keep)
    host.push(policy, version=50)
    disturb(policy, 0.05)
    # vLLM shares keys and values by whole blocks, of 128 tokens on CPU: this prompt fills one.
    question = " red" * 120
    trajectories = push_under_way(host, world, policy, version=51, question=question)
    spans = [[span.weight_version for span in trajectory.version_spans] for trajectory in trajectories]
    assert [50, 51] in spans
    later = host.run(host.engine.generate(world.request(seed=1, question=question)))
    assert distance(world, policy, later) < TOLERANCE


def test_an_update_without_the_tied_head_is_refused_and_a_whole_one_repairs(
    host: EngineHost, world: TinyWorld, policy: Policy
) -> None:
    disturb(policy, 0.05)
    with pytest.raises(WorkersFailedError, match=r"lm_head\.weight"):
        host.push(policy, version=60, source=PolicySource(policy, without=["lm_head.weight"]))
    with pytest.raises(TransferError, match="mixture"):
        host.run(host.engine.update.resume())
    host.push(policy, version=61)
    assert distance(world, policy, host.run(host.engine.generate(world.request(seed=1)))) < TOLERANCE


class VanishingWorker:
    """A member that is gone after the first query projection, when the fused layer of the others is half loaded."""

    name = "vanishing"
    num_ranks = 1

    def join_transfer(self, info: dict[str, Any]) -> None:
        store = dist.TCPStore(info["master_address"], info["master_port"], is_master=False)
        self._group = GlooGroup(store, info["master_address"], info["rank_offset"], info["world_size"], 5)
        self._bucket_bytes = info["bucket_bytes"]

    def start_update(self, unchanged: Mapping[str, int], hashed: Sequence[str]) -> None:
        pass

    def receive_weights(self, info: dict[str, Any]) -> None:
        for bucket in plan_buckets(GlooUpdateInfo(**info).metas(), self._bucket_bytes):
            self._group.broadcast(torch.empty(bucket.num_bytes, dtype=torch.uint8))
            if any("q_proj.weight" in slot.meta.name for slot in bucket.slots):
                break
        self._group.close()
        raise ConnectionError("killed")


def test_a_member_that_dies_during_a_push_fails_it_and_the_survivor_takes_the_next(
    host: EngineHost, world: TinyWorld, policy: Policy
) -> None:
    disturb(policy, 0.05)
    weights = PolicySource(policy)
    channel = channel_to([host, ThreadReceiver(VanishingWorker())], weights, timeout_s=8)
    host.run(host.engine.update.pause())
    channel.pack(weights, hashed=())
    started = time.monotonic()
    with pytest.raises(WorkersFailedError, match="vanishing: ConnectionError: killed"):
        channel.send(70, unchanged={})
    assert time.monotonic() - started < 10
    host.push(policy, version=71)
    assert distance(world, policy, host.run(host.engine.generate(world.request(seed=1)))) < TOLERANCE


def test_engine_and_learner_agree_on_the_canary_and_not_once_weights_are_wrong(
    host: EngineHost, world: TinyWorld, policy: Policy
) -> None:
    canary = choose_canary(world.samples, CanaryConfig(), is_float32=True)
    assert canary is not None
    assert canary.sample.regions
    disturb(policy, 0.05)
    host.push(policy, version=80)
    learner = world.canary_logprobs(policy, canary)
    # More responses are wanted than the engine takes at once (16): the canary waits for one of them, not for all.
    pending = [host.submit(host.engine.generate(world.request(i % 4, seed=i, max_tokens=300))) for i in range(64)]
    time.sleep(0.3)
    engine = host.run(host.engine.canary_logprobs(canary))
    assert sum(future.done() for future in pending) < 48
    assert max(abs(a - b) for a, b in zip(learner, engine, strict=True)) < TOLERANCE
    disturb(policy, 0.02, only="layers.1.mlp")
    host.push(policy, version=81)
    wrong = host.run(host.engine.canary_logprobs(canary))
    assert mean_difference(learner, wrong) > 10 * canary.max_difference
    assert mean_difference(world.canary_logprobs(policy, canary), wrong) < TOLERANCE
    for future in pending:
        future.result(timeout=120)


def test_a_request_waits_while_paused_and_the_probe_answers(host: EngineHost, world: TinyWorld) -> None:
    host.run(host.engine.update.pause())
    pending = host.submit(host.engine.generate(world.request()))
    host.run(host.engine.health_probe())
    time.sleep(0.3)
    assert not pending.done()
    host.run(host.engine.update.resume())
    assert pending.result(timeout=60).response_token_ids
    host.run(host.engine.health_probe())


def test_an_update_of_an_engine_that_is_not_paused_is_refused(host: EngineHost) -> None:
    with pytest.raises(TransferError, match="pause"):
        host.run(host.engine.update.start_update({}))


def test_a_missing_image_and_a_prompt_that_is_too_long_are_named(host: EngineHost, world: TinyWorld) -> None:
    request = world.request()
    lost = ImageRef(sha256="0" * 64, width_px=128, height_px=128)
    without_image = type(request)(**{**vars(request), "sample": request.sample.replace(images=(lost,))})
    with pytest.raises(BadImageError, match=r"sample-0: images\.0: image 000000000000… is not in .*put .* in place"):
        host.run(host.engine.generate(without_image))

    def asked(question: str) -> SpatialSample:
        return request.sample.replace(question=question)

    # 500 tokens of text fit into the 512 of max_model_len, but not with the image's 16.
    two = type(request)(**{**vars(request), "sample": request.sample.replace(images=request.sample.images * 2)})
    with pytest.raises(ValueError, match=r"sample-0 has 2 images, but rollout\.engine\.max_images_per_prompt=1; set"):
        host.run(host.engine.generate(two))
    # The last prompt leaves 23 tokens, and the request asks for 24: vLLM would cut the response without a word.
    for num_words in (490, 900, 512 - len(world.encoder.prompt_token_ids(asked(" red"), ReasoningPath.DTR)) + 1 - 23):
        long = type(request)(**{**vars(request), "sample": asked(" red" * num_words)})
        with pytest.raises(ValueError, match=r"sample-0.*max_model_len=512"):
            host.run(host.engine.generate(long))


def test_shutdown_leaves_no_child_process(host: EngineHost) -> None:
    """The last test of this module: it takes the engine away."""
    pids = host.engine.child_pids
    assert len(pids) >= 2
    host.run(host.engine.shutdown())
    assert host.engine.child_pids == []
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_an_engine_that_cannot_start_says_why_in_the_words_of_the_process_that_failed(world: TinyWorld) -> None:
    config = EngineConfig(max_model_len=512, kv_cache_gib=1e-6)
    engine = RolloutEngine(EngineSpec(world.model, world.images, PROMPT, config, "rollout-0"))
    with pytest.raises(EngineStartError, match=r"^ValueError: No available memory for the cache blocks"):
        asyncio.run(engine.start())
    assert engine.child_pids == []
