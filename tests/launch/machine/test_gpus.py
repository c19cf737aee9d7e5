"""A config that this machine cannot carry is refused before Ray starts, with the sum and what would fit."""

import pytest

from launch.machine.gpus import check_gpus_for, too_few_gpus
from launch.settings.config import ConfigError, load_config


@pytest.mark.parametrize(
    ("preset", "overrides", "num_gpus", "told"),
    [
        ("demo_gpu", [], 1, None),
        ("demo", [], 0, None),
        (
            "demo_gpu",
            [],
            0,
            "for 1 GPU (learner and engine share it), and this machine has none: take a config that runs on CPUs",
        ),
        (
            "qwen3vl_8gpu",
            [],
            3,
            "6 for learner ranks + 2 for rollout workers = 8 GPUs, and this machine has 3: ask for fewer "
            "(learner.num_ranks, rollout.num_workers), or have learner and engines share cards: cluster.layout=shared "
            "rollout.engine.transfer=ipc learner.num_ranks=3 rollout.num_workers=3 needs 3 cards (`sr-real doctor`",
        ),
        (
            "demo_gpu",
            ["rollout.engine.tensor_parallel_size=2", "learner.num_ranks=4", "rollout.num_workers=2"],
            3,
            "2 × 2 for 2 cards of an engine = 4 GPUs, and this machine has 3: cluster.layout=shared "
            "rollout.engine.transfer=ipc learner.num_ranks=2 rollout.num_workers=1 needs 2 cards",
        ),
    ],
)
def test_too_few_cards_are_told_with_the_sum_and_the_nearest_settings_that_fit(
    preset: str, overrides: list[str], num_gpus: int, told: str | None
) -> None:
    found = too_few_gpus(load_config(preset, overrides), num_gpus)
    assert found is None if told is None else found is not None and told in found


def test_the_settings_that_are_said_to_need_no_more_cards_do() -> None:
    fault = too_few_gpus(load_config("qwen3vl_8gpu"), 3)
    assert fault is not None
    settings = fault.split("share cards: ")[1].split(" needs ")[0].split()
    assert too_few_gpus(load_config("qwen3vl_8gpu", settings), 3) is None


def test_this_machine_is_asked_only_where_the_run_starts_its_own_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match="this machine has none"):
        check_gpus_for(load_config("demo_gpu"))
    check_gpus_for(load_config("demo_gpu", ["cluster.address=auto"]))
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")  # a submitted job
    check_gpus_for(load_config("demo_gpu"))
