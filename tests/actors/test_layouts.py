"""Layouts: what a run reserves, and which settings cannot be carried."""

import pytest

from launch.settings.config import ConfigError, load_config

SHARED = ["cluster.layout=shared", "rollout.engine.transfer=ipc"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["cluster.layout=shared"], "set rollout.engine.transfer.type=ipc"),
        (["rollout.engine.transfer=ipc"], "set rollout.engine.transfer.type=gloo, or cluster.layout.type=shared"),
        (["rollout.engine.transfer=nccl"], "give rollout.gpus_per_worker=1 or rollout.engine.transfer.type=gloo"),
        (["rollout.engine.transfer=nccl", "rollout.gpus_per_worker=1"], "give cluster.learner_rank_gpus=1 or"),
        (["rollout.engine.tensor_parallel_size=2"], "rollout.cpus_per_worker=1 is less than"),
        (["cluster.layout.sleep=true"], "cluster.layout.sleep"),
        (
            [*SHARED],
            "rollout.num_workers=2 × rollout.engine.tensor_parallel_size=1 = 2 is not learner.num_ranks=1; "
            "set learner.num_ranks=2 or rollout.num_workers=1",
        ),
        (
            [*SHARED, "rollout.num_workers=0", "learner.num_ranks=4", "rollout.engine.tensor_parallel_size=2"],
            "= 0 is not learner.num_ranks=4; set rollout.num_workers=2",
        ),
        (
            [*SHARED, "rollout.num_workers=0", "learner.num_ranks=3", "rollout.engine.tensor_parallel_size=2"],
            "set learner.num_ranks=4 with rollout.num_workers=2",
        ),
        ([*SHARED, "learner.num_ranks=2", "cluster.learner_rank_gpus=0.5"], "leave cluster.learner_rank_gpus out"),
        (
            [*SHARED, "learner.num_ranks=2", "cluster.layout.sleep=true", "training.max_staleness=1"],
            "set training.max_staleness=0 or cluster.layout.sleep=false",
        ),
    ],
)
def test_what_the_cards_cannot_carry_is_refused_with_the_nearest_setting_that_would_do(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("demo", overrides)
    assert message in str(caught.value)


def faults_of(preset: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(preset, list(overrides))
    return str(caught.value).splitlines()


def test_a_layout_names_all_of_its_faults_at_once() -> None:
    first, *faults = faults_of("demo", "cluster.layout={type: shared, sleep: true}", "training.max_staleness=1")
    assert first.endswith("3 faults")
    for fault, told in zip(
        faults, ("transfer.type=ipc", "training.max_staleness=0", "rollout.num_workers=1"), strict=True
    ):
        assert told in fault
    assert "2 faults" in faults_of("demo", "rollout.engine.transfer=nccl")[0]


def test_on_a_split_layout_of_gpus_weights_can_go_by_nccl() -> None:
    assert "transfer.type=nccl, or" in faults_of("qwen3vl_8gpu", "rollout.engine.transfer=ipc")[1]


def test_a_number_of_engines_above_the_most_is_advised_with_the_most() -> None:
    (_, fault) = faults_of("qwen3vl_2b_1gpu", "learner.num_ranks=2")
    settings = fault.split(" or ")[-1].split()
    assert settings == ["rollout.num_workers=2", "rollout.max_workers=2"]
    assert load_config("qwen3vl_2b_1gpu", ["learner.num_ranks=2", *settings]).num_gpus == 2


def test_in_a_shared_layout_rank_and_engine_follow_from_the_cards() -> None:
    config = load_config("demo", [*SHARED, "learner.num_ranks=2"])
    assert config.cluster.learner_on_gpu
    assert config.engines_on_gpu
    # Half a CPU of the rank and one of the engine.
    assert config.rooms == (("cards", {"CPU": 1.5, "GPU": 1}, 2),)
    assert config.max_workers == 2
    assert config.num_cpus == 2 * 1.5 + 0.25


def test_an_engine_of_two_cards_has_one_room_with_two_ranks_so_that_it_lies_on_one_node() -> None:
    own = ["cluster.learner_resources={fast: 1}", "rollout.resources_per_worker={fast: 1}"]
    config = load_config("demo", [*SHARED, *own, "learner.num_ranks=4", "rollout.engine.tensor_parallel_size=2"])
    assert config.rooms == (("2 cards of an engine", {"CPU": 2, "GPU": 2, "fast": 3}, 2),)


def test_in_a_split_layout_each_side_asks_for_its_own() -> None:
    ranks, workers = load_config("qwen3vl_8gpu").rooms
    assert ranks == ("learner ranks", {"CPU": 4, "GPU": 1}, 6)
    assert workers == ("rollout workers", {"CPU": 4, "GPU": 1}, 2)
    demo = load_config("demo")
    assert not demo.cluster.learner_on_gpu
    assert not demo.engines_on_gpu
    assert [rooms.bundle for rooms in demo.rooms] == [{"CPU": 0.5}, {"CPU": 1}]
