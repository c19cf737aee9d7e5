"""Settings of the command line, laid over a file: what changes, what is replaced, what starts anew."""

from pathlib import Path

import pytest

from corpora.builder.config import BuildConfig
from launch.settings.config import ConfigError, FileDataConfig, RunConfig, load_config, parse_settings
from launch.settings.overrides import lay_over


def demo(*overrides: str) -> RunConfig:
    return load_config("demo", list(overrides))


def refused(*overrides: str, config: Path | str = "demo") -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(config, list(overrides))
    return str(caught.value)


def test_another_optimiser_starts_from_its_own_defaults_and_what_is_lost_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    optimizer = demo("learner.optimizer.type=adamw").learner.optimizer
    assert (optimizer.learning_rate, optimizer.weight_decay, optimizer.schedule) == (1e-6, 0.01, "constant")
    assert "learning_rate=0.008" in caplog.text
    given = demo("learner.optimizer.learning_rate=3e-6", "learner.optimizer.type=adamw").learner.optimizer
    assert given.learning_rate == 3e-6
    assert demo("learner.optimizer.type=adafactor").learner.optimizer.learning_rate == 8e-3


def test_a_rate_of_adamw_is_never_another_optimiser_s() -> None:
    assert "type=muon needs a learning_rate" in refused("learner.optimizer.type=muon")
    assert "type=adafactor needs a learning_rate" in refused("learner.sft.optimizer.type=adafactor")
    assert demo("learner.sft.optimizer.type=adamw").learner.sft.optimizer.learning_rate == 1e-5


def test_a_type_of_the_file_s_default_is_left_like_one_that_it_names(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "model: {type: tiny}\ndata: {type: scenes}\ntraining: {num_steps: 1, groups_per_step: {lor: 1}}\n"
        "learner: {optimizer: {learning_rate: 1.0e-6}}\n"
    )
    assert "type=muon needs a learning_rate" in refused("learner.optimizer.type=muon", config=file)


@pytest.mark.parametrize("turn", [1, -1])
def test_own_files_are_one_type_and_one_folder_in_any_order(turn: int) -> None:
    config = demo(*["data.type=files", "data.folder=/data/mine"][::turn])
    assert isinstance(config.data, FileDataConfig)
    assert config.data.folder == "/data/mine"


def test_a_whole_mapping_replaces_and_a_dotted_key_changes_one_entry() -> None:
    blend = demo("learner.sft.blend={lor: 1, dtr: 1}").learner.sft.blend
    assert blend == {"lor": 1.0, "dtr": 1.0}
    one = demo("learner.sft.blend.lor=1").learner.sft.blend
    assert one == {"lor": 1.0, "dtr": 6.0, "grounding_3d": 0.5, "grounding_2d": 0.25, "plain": 0.25}
    both = demo("learner.sft.blend.lor=7", "learner.sft.blend={dtr: 1}").learner.sft.blend
    assert both == {"lor": 7.0, "dtr": 1.0}


def test_a_section_that_the_file_leaves_out_starts_from_its_defaults(tmp_path: Path) -> None:
    config = demo(
        "data.scenes.room.depth_m=[1, 4]", "rollout.engine.transfer.bucket_mb=32", "learner.policy_loss.clip_high=0.4"
    )
    assert config.data.type == "scenes"
    assert config.data.scenes.room.depth_m == (1.0, 4.0)
    assert config.data.scenes.room.pitch_deg == (14.0, 26.0)
    assert (config.rollout.engine.transfer.type, config.rollout.engine.transfer.bucket_mb) == ("gloo", 32.0)
    assert (config.learner.policy_loss.type, config.learner.policy_loss.clip_low) == ("grpo", 0.2)
    file = tmp_path / "mine.yaml"
    file.write_text("model: {type: tiny}\ndata: {type: scenes}\ntraining: {num_steps: 1, groups_per_step: {lor: 1}}\n")
    sft = load_config(file, ["learner.sft.optimizer.betas=[0.9, 0.95]"]).learner.sft.optimizer
    assert (sft.learning_rate, sft.warmup_steps, sft.schedule) == (1e-5, 20, "cosine")
    file.write_text(file.read_text() + "learner: {sft: {optimizer: {betas: [0.9, 0.95]}}}\n")
    assert load_config(file).learner.sft.optimizer == sft


def test_a_type_may_be_given_for_its_section() -> None:
    config = demo("learner.importance=none", "rollout.scaling=fixed", "learner.advantage=dr_grpo")
    assert (config.learner.importance.type, config.learner.advantage.type) == ("none", "dr_grpo")
    assert "write learner.policy_loss.type=… (one of grpo, gspo" in refused("learner.policy_loss=ppo")


def test_the_tiny_model_that_the_advice_names_is_one_setting() -> None:
    assert demo("model.type=tiny").model.type == "tiny"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("/tmp/a #b", "/tmp/a #b"),
        ("/tmp/a: b", "/tmp/a: b"),
        ("/tmp/a b ", "/tmp/a b "),
        ("C:\\runs\\new", "C:\\runs\\new"),
        ("2026", "2026"),
        ("007", "007"),
        ("1e-5", "1e-5"),
        ("off", "off"),
        ("null", "null"),
        ("[a", "[a"),
        ("*a&b%@!", "*a&b%@!"),
        ("a=b", "a=b"),
        ("${HOME}", "${HOME}"),
        ("'a b'", "a b"),
        ("ünï", "ünï"),
    ],
)
def test_text_is_taken_as_it_stands(text: str, read: str) -> None:
    assert demo(f"run={text}").run == read


def test_empty_text_is_empty_where_that_is_allowed_and_null_where_that_is() -> None:
    assert "run: " in refused("run=")
    assert demo("prompt.lor_regions=").prompt.lor_regions is None
    assert demo("prompt.lor_regions=null").prompt.lor_regions is None
    assert demo("rewards.custom=").rewards.custom is None


@pytest.mark.parametrize("word", ["off", "no", "false"])
def test_off_is_a_word_where_there_is_such_a_word(word: str, tmp_path: Path) -> None:
    assert demo(f"telemetry.wandb={word}").telemetry.wandb == "off"
    file = tmp_path / "mine.yaml"
    file.write_text(
        "model: {type: tiny}\ndata: {type: scenes}\ntraining: {num_steps: 1, groups_per_step: {lor: 1}}\n"
        f"telemetry: {{wandb: {word}}}\ndashboard: {{enabled: {word}}}\n"
    )
    config = load_config(file)
    assert (config.telemetry.wandb, config.dashboard.enabled) == ("off", False)


@pytest.mark.parametrize(
    ("word", "meant"), [("on", True), ("yes", True), ("True", True), ("off", False), ("no", False)]
)
def test_yes_and_no_are_truth_values_where_one_is_wanted(word: str, meant: bool) -> None:
    assert demo(f"rollout.engine.enforce_eager={word}").rollout.engine.enforce_eager is meant


def test_text_in_a_mapping_is_taken_as_it_stands_too() -> None:
    config = demo("prompt.own_instructions.lor=Think in metres: first depths. #1")
    assert config.prompt.own_instructions == {"lor": "Think in metres: first depths. #1"}


def test_an_entry_of_a_list_is_changed_by_its_number() -> None:
    config = demo(
        "training.evaluate_every=5",
        "training.benchmarks=[{name: cv, folder: /sets/cv}]",
        "training.benchmarks.0.limit=7",
    )
    assert config.training.benchmarks[0].limit == 7
    assert "no entry 3 in a list of 0" in refused("training.benchmarks.3.limit=7")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr=1e-5", "did you mean learner.optimizer.learning_rate=1e-05 or learner.sft.optimizer.learning_rate=1e-05?"),
        ("learner.optimizer.lr=1e-5", "did you mean learner.optimizer.learning_rate=1e-05"),
        ("num_steps=5", "did you mean training.num_steps=5"),
        ("batch_size=8", "did you mean training.groups_per_step"),
        ("steps=5", "did you mean learner.sft.steps=5 or training.num_steps=5"),
        ("max_new_tokens=99", "did you mean rollout.sampling.max_response_tokens=99?"),
        ("output_dir=runs/x", "did you mean run=runs/x?"),
        ("folder=/data", "data.folder=/data"),
        ("learning_rat=1", "learner.optimizer.learning_rate=1"),
        ("data.folder=/data", "data.folder: it goes with data.type=files"),
        ("learner.rejection.high=7", "it goes with learner.rejection.type=token or learner.rejection.type=sequence"),
        ("sampling.temperature=0.8", "did you mean rollout.sampling.temperature=0.8 or evaluation.temperature=0.8?"),
        ("rewards.custom=my.reward", "write module:function, such as my:reward"),
        ("rewards.custom=rewards/mine.py:best", "write module:function, such as rewards.mine:best"),
        ("data.type=files", "data.folder: missing (Folder with train.jsonl"),
        ("data.type=file", "there is no type 'file'; did you mean 'files'?"),
        ("learner.policy_loss=gspoo", "there is no type 'gspoo'; did you mean 'gspo'?"),
        ("learner.freeze=vision", "this takes a list, such as learner.freeze=[vision]"),
        ("training.groups_per_step=8", "this takes several keys with a value each"),
        ("type=files", "did you mean data.type=files?"),
        ("zero_stage=2", "did you mean learner.deepspeed.zero_stage=2?"),
        ("optimizer=adamw", "did you mean learner.optimizer=adamw or learner.sft.optimizer=adamw?"),
        ("model=assets/tiny-base", "model.path=…"),
        ("seed.x=1", "seed is not a section and has no keys"),
        ("--resume", "'--resume' is not a setting: write key=value"),
        ("data={type: files, folder: /tmp/a #b}", "put text that contains signs such as # : { } [ ] in quotes"),
        ("data={type: files, type: scenes}", "'type' stands twice"),
        ("quux.zork=1", "`sr-real config WORD` searches all"),
    ],
)
def test_what_cannot_be_read_is_told_with_what_may_be_meant(override: str, message: str) -> None:
    assert message in refused(override)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "learner.deepspeed.attention=flash",
            "learner.deepspeed.attention: there is no 'flash' here; did you mean 'flash_attention_4' or "
            "'flash_attention_2'?",
        ),
        (
            "learner.deepspeed.packing=maybe",
            "learner.deepspeed.packing: there is no 'maybe' here; there are auto, true, false",
        ),
        (
            "learner.lora={parts: [langauge]}",
            "learner.lora.parts.0: there is no 'langauge' here; did you mean 'language'?",
        ),
        ("learner.sft.blend={lro: 1}", "learner.sft.blend.lro: there is no 'lro' here; did you mean 'lor'?"),
        ("prompt.lor_regions=token", "prompt.lor_regions: there is no 'token' here; did you mean 'tokens'?"),
        ("learner.lora.rank=0", "learner.lora.rank: this takes a whole number ≥ 1, such as 1 (given: 0)"),
        ("cluster.peak_tflops=-3", "cluster.peak_tflops: this takes a number > 0, or null, such as 3 (given: -3)"),
        (
            "rollout.engine.gpu_memory_utilization=60",
            "rollout.engine.gpu_memory_utilization: this takes a number > 0 and ≤ 1, such as 0.6 (given: 60)",
        ),
        (
            "model={type: tiny, image_size_px: 80}",
            "model.image_size_px: this takes a whole number ≥ 32 and multiple of 32, such as 64 (given: 80)",
        ),
        ("run=", "run: this takes text, such as \"runs/run\" (given: '')"),
        (
            "learner.optimizer.betas=[0.9]",
            "learner.optimizer.betas: this takes [number ≥ 0 and < 1, number ≥ 0 and < 1], such as [0.9, 0.999] "
            "(given: [0.9])",
        ),
        ("learner.optimizer.betas=[0.9, 2]", "learner.optimizer.betas.1: this should be less than 1 (given: 2)"),
        (
            "rollout.engine.enforce_eager=maybe",
            "rollout.engine.enforce_eager: this takes true or false (given: 'maybe')",
        ),
    ],
)
def test_a_value_that_cannot_be_is_one_fault_with_a_value_to_take(override: str, line: str) -> None:
    assert refused(override).splitlines()[1:] == [f"  {line}"]


def test_one_key_sets_the_temperature_of_engines_and_learner() -> None:
    assert demo("rollout.sampling.temperature=0.8").rollout.sampling.temperature == 0.8
    # What earlier versions asked for, both keys with one value, means the same.
    assert demo("rollout.sampling.temperature=0.8", "learner.temperature=0.8") == demo(
        "rollout.sampling.temperature=0.8"
    )


def test_a_file_that_is_no_mapping_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert "holds a list" in refused(config=tmp_path / "list.yaml")
    (tmp_path / "empty.yaml").write_text("")
    assert "training: missing" in refused(config=tmp_path / "empty.yaml")


def test_text_that_yaml_takes_for_a_number_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("run: 2026\n")
    assert "run: this takes text (given: 2026); in a YAML file, put it in quotes" in refused(
        config=tmp_path / "mine.yaml"
    )


def test_a_config_of_another_trainer_does_not_fill_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("".join(f"zork_{number}: 1\n" for number in range(50)))
    told = refused(config=tmp_path / "other.yaml").splitlines()
    assert len(told) == 21
    assert told[-1].strip().startswith("… and ")


@pytest.mark.parametrize(("text", "seed"), [("010", 10), ("09", 9), ("0", 0), ("+3", 3)])
def test_leading_zeros_do_not_make_a_number_octal(text: str, seed: int) -> None:
    assert demo(f"seed={text}").seed == seed


def test_the_home_folder_is_meant_by_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert demo("run=~/runs/mine").run == "/home/me/runs/mine"
    assert demo("run='~/runs/mine'").run == "~/runs/mine"
    assert demo("run=a~/b").run == "a~/b"


def test_what_is_laid_over_stays_as_it_was() -> None:
    blend, benchmark = {"lor": 4, "dtr": 6}, {"name": "cv", "folder": "/sets/cv"}
    content = {"learner": {"sft": {"blend": blend}}, "training": {"benchmarks": [benchmark]}}
    laid = lay_over(content, ["learner.sft.blend.lor=1", "training.benchmarks.0.limit=50"], RunConfig)
    assert laid["learner"]["sft"]["blend"] == {"lor": 1, "dtr": 6}
    assert laid["training"]["benchmarks"] == [{"name": "cv", "folder": "/sets/cv", "limit": 50}]
    assert (blend, benchmark) == ({"lor": 4, "dtr": 6}, {"name": "cv", "folder": "/sets/cv"})


def test_the_search_for_settings_is_offered_for_a_runs_config_alone() -> None:
    with pytest.raises(ConfigError) as refused_build:
        parse_settings({"zork": 1}, BuildConfig, source="build")
    assert "unknown key; known here: " in str(refused_build.value)
    assert "sr-real config" not in str(refused_build.value)
