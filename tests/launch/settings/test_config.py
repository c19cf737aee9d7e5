"""Configs: every shipped one loads, and a wrong one is told by its key."""

from pathlib import Path

import pytest

from actors.config import LEAST_PUSH_MARGIN_S
from launch.settings.config import PRESETS, ConfigError, load_config


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_loads(preset: Path) -> None:
    assert load_config(preset).run.startswith("runs/")


def test_overrides_win_over_the_file() -> None:
    config = load_config("demo", ["learner.optimizer.learning_rate=1e-5", "run=runs/mine", "training.max_staleness=2"])
    assert config.learner.optimizer.learning_rate == 1e-5
    assert config.run == "runs/mine"
    assert config.training.max_staleness == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learner.optimzer.learning_rate=1", "learner.optimzer: unknown key; did you mean 'optimizer'?"),
        ("data.num_train_scene=3", "num_train_scene: unknown key; did you mean 'num_train_scenes'?"),
        ("rolout.num_workers=2", "rolout: unknown key; did you mean 'rollout'?"),
        ("seed=many", "seed: this takes a whole number ≥ 0, such as 0 (given: 'many')"),
        ("seed=1.6", "seed: this takes a whole number ≥ 0, such as 2 (given: 1.6)"),
        ("learner.policy_loss.type=ppo", "learner.policy_loss"),
        ("learner.temperature=0.7", "differs from rollout.sampling.temperature=1.0, which now counts for the engines"),
        ("rollout.sampling.top_p=0.9", "top_p=0.9"),
        ("cluster.deadlines.push_s=329", "rollout.engine.transfer_timeout_s=300"),
        ("rollout.engine.transfer_timeout_s=360", "cluster.deadlines.push_s=360"),
        (
            "cluster.deadlines.generate_s=280",
            "rollout.engine.generate_timeout_s=280 is not shorter than cluster.deadlines.",
        ),
        ("rollout.engine.start_timeout_s=600", "cluster.deadlines.start_s=600, which would always pass first"),
        ("cluster.deadlines.stop_s=30", "twice, and that is not shorter than cluster.deadlines.stop_s=30"),
        ("rollout.health.restart_pause_s=61", "is longer than health.max_restart_pause_s=60"),
        ("rollout.engine.control_timeout_s=361", "cluster.deadlines.push_s=360, which would always pass first"),
        ("cluster.deadlines.update_s=900", "learner.deepspeed.collective_timeout_s=1500 is not shorter than"),
        ("rollout.sampling.max_response_tokens=4096", "leaves no room for a prompt"),
        ("training.groups_per_step={lor: 0, dtr: 0}", "every path has 0 groups"),
        ("data.scenes.dtr_weights={dpeth: 1}", "did you mean 'depth'?"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_the_nearest_right_one(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("demo", [override])
    assert message in str(caught.value)


def test_the_clock_of_a_push_lies_outside_that_of_its_transfer() -> None:
    config = load_config(
        "demo",
        [
            "rollout.engine.transfer_timeout_s=20",
            "rollout.engine.control_timeout_s=20",
            "cluster.deadlines.push_s=50",
        ],
    )
    assert config.cluster.deadlines.push_s - config.rollout.engine.transfer_timeout_s == LEAST_PUSH_MARGIN_S
    for preset in ("demo", "base", "qwen3vl_8gpu", "cluster_8b"):
        config = load_config(preset)
        margin_s = config.cluster.deadlines.push_s - config.rollout.engine.transfer_timeout_s
        # A second's grace for other workers, five for an engine's own account, five for the end of NCCL's communicator.
        assert margin_s >= LEAST_PUSH_MARGIN_S > 1 + 5 + 5


def test_an_optimizer_of_whole_matrices_names_all_that_cuts_them_up_and_what_to_set() -> None:
    muon = ["learner.optimizer={type: muon, learning_rate: 1e-3}", "learner.deepspeed.optimizer_offload=cpu"]
    with pytest.raises(ConfigError) as caught:
        load_config("qwen3vl_8gpu", muon)
    remedy = str(caught.value).split(": set ")[1].split(", or take")[0].split()
    assert remedy == [
        "learner.deepspeed.zero_stage=0",
        "learner.deepspeed.dtype=float32",
        "learner.deepspeed.optimizer_offload=none",
    ]
    assert load_config("qwen3vl_8gpu", [*muon, *remedy]).learner.optimizer.type == "muon"


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text("data: {type: scenes}\nmodel: {type: tiny}\n")
    with pytest.raises(ConfigError, match="training: missing"):
        load_config(file)


def test_a_missing_file_names_the_presets() -> None:
    with pytest.raises(ConfigError, match=r"presets: .*demo"):
        load_config("nowhere.yaml")


def test_a_misspelt_preset_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean the preset demo_gpu\? Or give a YAML file"):
        load_config("demo_gqu")


def test_broken_yaml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("a: [1,\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        load_config(file)


def test_reading_a_config_needs_neither_torch_nor_ray_nor_vllm() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from launch.settings.config import load_config; load_config('demo'); "
        "print([name for name in ('torch', 'ray', 'vllm', 'deepspeed', 'transformers') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_environment_variables_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_config("demo")
    for name in ("SEED", "RUN", "MODEL", "SR_REAL_SEED"):
        monkeypatch.setenv(name, "7")
    assert load_config("demo") == before


def test_another_type_takes_the_whole_place_of_the_one_before() -> None:
    config = load_config("demo", ["data={type: files, folder: somewhere}"])
    assert config.data.model_dump() == {
        "type": "files",
        "folder": "somewhere",
        "check_images": "some",
        "too_long": "bad",
    }


@pytest.mark.parametrize(
    ("batches", "steps"), [("{lor: 1, dtr: 0}", 1), ("{lor: 2, dtr: 1}", 3), ("{lor: 24, dtr: 16}", 8)]
)
def test_steps_are_planned_as_many_as_a_batch_allows(batches: str, steps: int) -> None:
    # A group is not divided among steps, so an update of three groups makes three.
    overrides = ["learner.optimizer_steps_per_batch=8", "training.group_size=3", f"training.groups_per_step={batches}"]
    assert load_config("demo", overrides).steps_per_update == steps


def test_a_filter_that_nothing_can_pass_is_refused_by_both_fields() -> None:
    with pytest.raises(ConfigError, match=r"filter.min_mean_reward=0.99 is not below filter.max_mean_reward=0.2"):
        load_config("demo", ["training.filter={min_mean_reward: 0.99, max_mean_reward: 0.2}"])


def test_a_stop_waits_for_the_update_under_way_and_its_checkpoint() -> None:
    assert load_config("demo").cluster.deadlines.until_checkpoint_s == 1800 + 360 + 900
    assert load_config("demo", ["cluster.deadlines.finish_s=20"]).cluster.deadlines.until_checkpoint_s == 20
