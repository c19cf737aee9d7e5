"""Which config a command on a run takes, what it refuses, and what is written about it."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from actors.run.run_folder import RunFolder
from launch.run.record import begin_again, check_data, own_config, record_start
from launch.run.run_config import (
    COLD_START,
    COLD_START_RESUMED,
    EXPORT,
    TRAIN,
    TRAIN_RESUMED,
    USE,
    Rule,
    config_for,
    folder_of,
    start_of_training,
    with_run_of,
)
from launch.settings.config import ConfigError, RunConfig, load_config


class Said:
    """A console, and what it was given."""

    def __init__(self) -> None:
        self.console = Console(file=StringIO(), width=400)

    @property
    def text(self) -> str:
        assert isinstance(self.console.file, StringIO)
        return self.console.file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that was trained on a person's files, with another rate than the demo's."""
    (tmp_path / "mine").mkdir()
    config = load_config(
        "demo", [f"run={tmp_path / 'run'}", *OWN, f"data={{type: files, folder: {tmp_path / 'mine'}}}"]
    )
    folder = RunFolder(tmp_path / "run")
    folder.create()
    record_start(folder, config, "train", folder.cold_start_model)
    (folder.checkpoints / "step-000001").mkdir()
    return folder


OWN = ["learner.optimizer.learning_rate=0.002", "training.num_steps=7"]


def taken(folder: RunFolder, rule: Rule, *overrides: str, accept: bool = False, file: str | None = None) -> RunConfig:
    return config_for(rule, file, [f"run={folder.root}", *overrides], Said().console, accept)


def test_a_command_on_a_run_takes_the_runs_own_config_and_says_so(folder: RunFolder) -> None:
    said = Said()
    for rule in (COLD_START, COLD_START_RESUMED, EXPORT, TRAIN, TRAIN_RESUMED, USE):
        config = config_for(rule, None, [f"run={folder.root}"], said.console)
        assert config.data.type == "files"
        assert config.learner.optimizer.learning_rate == 0.002
    assert f"the run's own, {folder.config}" in said.text


def test_what_may_change_on_a_resume_is_taken_said_and_kept_for_the_next(folder: RunFolder) -> None:
    before = folder.config.read_bytes()
    said = Said()
    overrides = [f"run={folder.root}", "learner.optimizer.learning_rate=0.004", "training.num_steps=9"]
    config = config_for(TRAIN_RESUMED, None, overrides, said.console)
    assert (config.learner.optimizer.learning_rate, config.training.num_steps) == (0.004, 9)
    assert "learner.optimizer.learning_rate: 0.002 → 0.004" in said.text
    assert "training.num_steps: 7 → 9" in said.text
    record_start(folder, config, "train", folder.cold_start_model)
    assert folder.config.read_bytes() == before
    assert taken(folder, TRAIN_RESUMED) == config
    starts = [json.loads(line) for line in folder.starts.read_text().splitlines()]
    assert starts[1]["changes"] == [
        {"field": "training.num_steps", "was": 7, "now": 9},
        {"field": "learner.optimizer.learning_rate", "was": 0.002, "now": 0.004},
    ]


def test_a_run_that_was_begun_when_the_learner_had_a_temperature_is_resumed(folder: RunFolder) -> None:
    recorded = json.loads(folder.config.read_text())
    recorded["learner"]["temperature"] = recorded["rollout"]["sampling"]["temperature"] = 0.7
    folder.config.write_text(json.dumps(recorded))
    config = taken(folder, TRAIN_RESUMED)
    assert config.rollout.sampling.temperature == 0.7
    record_start(folder, config, "train", folder.cold_start_model)
    assert json.loads(folder.starts.read_text().splitlines()[-1])["changes"] == []
    assert taken(folder, TRAIN_RESUMED, "rollout.sampling.temperature=0.8").rollout.sampling.temperature == 0.8
    recorded["learner"]["temperature"] = 1.0
    folder.config.write_text(json.dumps(recorded))
    with pytest.raises(ConfigError, match=r"learner.temperature=1.0 is a former key and differs from"):
        taken(folder, TRAIN_RESUMED)


@pytest.mark.parametrize("rule", [COLD_START, COLD_START_RESUMED, TRAIN, TRAIN_RESUMED, EXPORT, USE])
@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("seed=3", "seed: 0 → 3"),
        ("data.folder=/elsewhere", "mine → /elsewhere"),
        ("data={type: scenes}", "data.type: files → scenes"),
        ("model.path=/another", "model.path: assets/tiny-base → /another"),
    ],
)
def test_what_contradicts_the_training_is_refused_line_by_line(
    folder: RunFolder, rule: Rule, override: str, line: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        taken(folder, rule, override)
    assert line in str(refused.value)
    can_accept = rule.can_accept and not (override.startswith("model") and "model" in rule.fixed)
    assert ("--accept-changes" in str(refused.value)) == can_accept


def test_accepted_changes_are_taken_by_what_trains_and_never_by_what_uses(folder: RunFolder) -> None:
    assert taken(folder, TRAIN, "seed=3", accept=True).seed == 3
    assert taken(folder, TRAIN_RESUMED, "seed=3", accept=True).seed == 3
    with pytest.raises(ConfigError, match="give another folder, with this run's config: --config"):
        taken(folder, USE, "seed=3", accept=True)


@pytest.mark.parametrize(
    "override",
    [
        "learner.freeze=[vision]",
        "learner.optimizer.type=adamw",
        "learner.last_language_layers=null",
        "learner.num_ranks=2",
        "learner.deepspeed.zero_stage=1",
        "training.groups_per_step={lor: 24, dtr: 16, direct: 4}",
        "training.groups_per_step={lor: 24, dtr: 0}",
        "training.groups_per_step.dtr=0",
        "training.groups_per_step.direct=4",
    ],
)
def test_what_no_checkpoint_fits_is_refused_with_its_field_though_accepted(folder: RunFolder, override: str) -> None:
    overrides = [override]
    if "zero_stage" in override:  # which the demo's optimisers cannot do
        adamw = "{type: adamw, learning_rate: 1e-5}"
        overrides += [f"learner.optimizer={adamw}", f"learner.sft.optimizer={adamw}"]
    with pytest.raises(ConfigError, match=r"no other learner can read its checkpoints") as refused:
        taken(folder, TRAIN_RESUMED, *overrides, accept=True)
    assert override.partition("=")[0] in str(refused.value)
    if "groups" not in override:
        taken(folder, TRAIN, *overrides)  # from the beginning it may be


def test_one_entry_of_a_mapping_is_compared_too(folder: RunFolder) -> None:
    with pytest.raises(ConfigError, match=r"learner\.sft\.blend\.lor: 4(\.0)? → 1"):
        taken(folder, COLD_START_RESUMED, "learner.sft.blend.lor=1")


def test_how_thoroughly_images_are_checked_may_change(folder: RunFolder) -> None:
    config = taken(folder, TRAIN_RESUMED, "data.check_images=all")
    assert config.data.model_dump()["check_images"] == "all"


def test_fewer_groups_of_the_same_paths_may_resume(folder: RunFolder) -> None:
    assert taken(folder, TRAIN_RESUMED, "training.groups_per_step={lor: 8, dtr: 16}").training.num_steps == 7


def test_a_config_that_is_named_on_a_run_is_compared_with_its_own(folder: RunFolder) -> None:
    with pytest.raises(ConfigError, match=r"data\.type: files → scenes"):
        taken(folder, USE, file="demo")
    assert taken(folder, USE, file=str(folder.config)) == taken(folder, USE)


def test_a_trained_folder_without_its_config_never_takes_the_default(folder: RunFolder) -> None:
    folder.config.unlink()
    with pytest.raises(ConfigError, match="name its config with --config"):
        taken(folder, TRAIN)
    said = Said()
    config_for(USE, None, [f"run={folder.root}"], said.console)
    assert "using the preset demo" in said.text


@pytest.mark.parametrize("text", ["", "[]", '{"seed": 0', '{"architectures": ["Qwen3VL"]}'])
def test_a_damaged_record_is_named(folder: RunFolder, text: str) -> None:
    folder.config.write_text(text)
    with pytest.raises(ConfigError, match=str(folder.config)):
        taken(folder, USE)


def test_a_new_folder_takes_the_config_as_it_is_named(tmp_path: Path) -> None:
    said = Said()
    config = config_for(TRAIN, None, [f"run={tmp_path / 'new'}", "seed=5"], said.console)
    assert config == load_config("demo", [f"run={tmp_path / 'new'}", "seed=5"])
    assert said.text == ""


def test_a_config_that_nothing_was_trained_with_yet_may_change_altogether(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    record_start(folder, load_config("demo", [f"run={folder.root}"]), "cold-start")
    assert taken(folder, COLD_START, "seed=5").seed == 5


def test_training_that_begins_again_keeps_the_record_with_what_it_made(folder: RunFolder) -> None:
    before = folder.config.read_bytes()
    folder.append_metrics({"step": 1})
    config = taken(folder, TRAIN, "learner.optimizer={type: adamw, learning_rate: 1e-5}")
    earlier = begin_again(folder, config, folder.of_training)
    record_start(folder, config, "train")
    assert earlier == folder.earlier / "001"
    assert (earlier / "config.json").read_bytes() == before
    assert (earlier / "metrics.jsonl").is_file()
    own = own_config(folder)
    assert own is not None
    assert own["learner"]["optimizer"]["type"] == "adamw"
    assert json.loads(folder.config.read_text()) == own


def test_accepted_other_data_from_the_beginning_leave_a_true_record(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    record_start(folder, load_config("demo", [f"run={folder.root}"]), "cold-start")
    folder.cold_start_model.mkdir()
    (folder.cold_start_model / "config.json").touch()
    config = taken(folder, TRAIN, f"data={{type: files, folder: {tmp_path}}}", accept=True)
    begin_again(folder, config, folder.of_training)
    record_start(folder, config, "train")
    assert json.loads(folder.config.read_text())["data"]["folder"] == str(tmp_path)
    assert json.loads((folder.earlier / "001" / "config.json").read_text())["data"]["type"] == "scenes"


def test_where_training_started_from_is_taken_again_by_a_resume(folder: RunFolder, tmp_path: Path) -> None:
    for name in ("base", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    record_start(folder, load_config("demo"), "train", tmp_path / "base")
    assert start_of_training(folder, None, True, False) == tmp_path / "base"
    assert start_of_training(folder, tmp_path / "base", True, False) == tmp_path / "base"
    with pytest.raises(ConfigError, match=r"--from: .*base → .*other"):
        start_of_training(folder, tmp_path / "other", True, False)
    assert start_of_training(folder, tmp_path / "other", True, True) == tmp_path / "other"
    with pytest.raises(ConfigError, match="does not exist: run `sr-real cold-start` first"):
        start_of_training(folder, None, False, False)


def test_samples_that_are_others_in_the_same_place_are_refused_by_a_resume(folder: RunFolder, tmp_path: Path) -> None:
    folder.data.symlink_to(tmp_path / "mine")
    file = tmp_path / "mine" / "train.jsonl"
    file.write_text('{"sample_id": 1}\n' * 100_000)
    check_data(folder, accept=False)  # an earlier version recorded nothing
    record_start(folder, taken(folder, TRAIN), "train")
    check_data(folder, accept=False)
    file.write_text('{"sample_id": 1}\n' * 50_000 + '{"sample_id": 2}\n' * 50_000)
    with pytest.raises(ConfigError, match=r"train\.jsonl is not what the run was trained on: it had 1700000 bytes"):
        check_data(folder, accept=False)
    check_data(folder, accept=True)
    file.unlink()
    with pytest.raises(ConfigError, match="is missing"):
        check_data(folder, accept=False)


def test_the_run_of_a_checkpoint_is_the_one_that_it_lies_in(folder: RunFolder, tmp_path: Path) -> None:
    checkpoint = folder.checkpoints / "step-000001"
    assert folder_of(None, with_run_of([checkpoint], None, None)).root == folder.root
    assert folder_of(None, with_run_of([folder.final_model], None, None)).root == folder.root
    assert with_run_of([checkpoint], None, ["run=other"]) == ["run=other"]
    assert with_run_of([tmp_path / "elsewhere"], None, None) == []
    with pytest.raises(ConfigError, match="several runs"):
        with_run_of([checkpoint, tmp_path / "elsewhere"], None, None)


def test_a_config_that_was_only_evaluated_with_is_taken_again_and_binds_nobody(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    record_start(folder, load_config("demo", [f"run={folder.root}", "data.num_test_scenes=7"]), "evaluate")
    assert taken(folder, USE).data.model_dump()["num_test_scenes"] == 7
    config = taken(folder, COLD_START, f"data={{type: files, folder: {tmp_path}}}")
    begin_again(folder, config, folder.of_cold_start)
    record_start(folder, config, "cold-start")
    assert json.loads(folder.config.read_text())["data"]["type"] == "files"
