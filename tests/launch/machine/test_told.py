"""A config for a machine that is not this one, as a person describes it."""

import pytest

from launch.machine.findings import GIB, exit_status
from launch.machine.fit import check_host, examine_config, findings_for
from launch.machine.told import Told, known_cards
from launch.settings.config import ConfigError, load_config
from learner.cards import CARDS, card_kind


@pytest.mark.parametrize(
    ("preset", "told", "message"),
    [
        ("qwen3vl_2b_1gpu", Told(gpu="RTX"), "--gpu RTX: .* did you mean RTX 3090 or RTX 4090 or RTX 5090"),
        ("qwen3vl_2b_1gpu", Told(gpu="h10"), "did you mean H100"),
        ("qwen3vl_2b_1gpu", Told(gpu="banana"), "known are A10, .*A100 80G.* or give its --gpu-gib"),
        ("qwen3vl_8gpu", Told(gpu="H100", rollout_gpu="banana"), "--rollout-gpu banana"),
        ("qwen3vl_2b_1gpu", Told(rollout_gpu="L40S"), "--rollout-gpu: .* give --gpu alone"),
        ("qwen3vl_2b_1gpu", Told(rollout_gpu_gib=40), "--rollout-gpu-gib: .* give --gpu-gib alone"),
        ("qwen3vl_2b_1gpu", Told(response_tokens=1025), "--response-tokens 1025: .*max_response_tokens=1024"),
    ],
)
def test_what_cannot_be_is_refused_with_what_would_be_taken(preset: str, told: Told, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        told.check(load_config(preset))


@pytest.mark.parametrize(
    ("preset", "told"),
    [
        ("qwen3vl_2b_1gpu", Told(gpu="NVIDIA H100 80GB HBM3", response_tokens=1024)),
        ("qwen3vl_8gpu", Told(gpu="H100", rollout_gpu="A100-80G", rollout_gpu_gib=80)),
    ],
)
def test_known_cards_and_lengths_within_the_limit_are_accepted(preset: str, told: Told) -> None:
    config = load_config(preset)
    told.check(config)  # refuses nothing
    of_time = [finding.status for finding in findings_for(config, told) if finding.name == "time of a step"]
    assert of_time == ["ok"]


def test_each_name_in_the_list_is_known_and_means_its_own_card() -> None:
    assert {card_kind(name) for name in known_cards()} == set(CARDS)


def test_what_this_machine_lacks_does_not_count_against_a_config_for_another() -> None:
    found = findings_for(load_config("qwen3vl_2b_1gpu"), Told(gpu="H200"))
    assert [(finding.name, finding.detail) for finding in found if finding.status == "fail"] == []
    assert exit_status(found) == 0
    names = [finding.name for finding in found]
    # The config comes first, and this machine's memory is not compared.
    assert names.index("learner's GPU") < names.index("python")
    assert "available" not in next(finding.detail for finding in found if finding.name == "memory for tensors")


def test_a_host_that_is_too_small_for_what_sleeps_is_told_what_would_lower_it() -> None:
    config = load_config("qwen3vl_2b_1gpu")
    found = {finding.name: finding for finding in examine_config(config, [], 80, available_bytes=20 * GIB)}
    advice = found["memory for tensors"].advice
    assert advice.startswith("a machine with 40 GiB to spare, or cluster.layout.sleep=false")
    assert "num_workers" not in advice
    on_cpu = {finding.name: finding for finding in examine_config(load_config("demo"), [], available_bytes=1)}
    assert "fewer rollout.num_workers or learner.num_ranks" in on_cpu["memory for tensors"].advice
    assert check_host({"engines": 2.0 * GIB}, None).status == "ok"
