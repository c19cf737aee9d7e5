"""Commands about a run that is there, as a person calls them; no run is under way here."""

import json
import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.run.run_folder import RunFolder
from launch.commands.cli import app
from launch.commands.run_naming import runs_named, the_run, with_run
from launch.run.state import explain_not_under_way, state_of
from launch.settings.config import ConfigError, load_config

MARKS = {"lor_accuracy": 0.5, "format_rate": 1.0, "paths": {"lor": {"accuracy_by_kind": {"depth": 0.5}}}}


def make_run(root: Path, num_steps: int = 3, planned: int = 3, figures: bool = True) -> Path:
    folder = RunFolder(root)
    folder.create()
    config = load_config("demo", [f"run={root}", f"training.num_steps={planned}"])
    folder.config.write_text(config.model_dump_json())
    for step in range(1, num_steps + 1):
        folder.append_metrics({"step": step, "lor/reward_mean": 0.5})
    if num_steps:
        os.utime(folder.metrics, (1_764_165_600, 1_764_165_600))
    if figures:
        folder.write_summary("rl", MARKS)
    return root


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, ConfigError), result.output
    return str(result.exception)


def test_a_run_that_ended_says_how_far_it_came_and_when(tmp_path: Path) -> None:
    finished = make_run(tmp_path / "finished")
    assert state_of(finished).sentence().startswith("it finished reinforcement learning at step 3 of 3 on 2025-11-2")
    stopped = make_run(tmp_path / "stopped", planned=9, figures=False)
    assert "it was stopped in reinforcement learning at step 3 of 9 on" in state_of(stopped).sentence()
    assert explain_not_under_way(stopped).endswith(f"`sr-real summary run={stopped}` shows it")
    empty = make_run(tmp_path / "empty", num_steps=0, figures=False)
    assert state_of(empty).sentence() == "it made no step"


def test_training_that_failed_before_its_first_step_is_not_hidden_by_the_cold_start(tmp_path: Path) -> None:
    folder = RunFolder(make_run(tmp_path / "run", planned=9, num_steps=0, figures=False))
    folder.cold_start_metrics.write_text('{"step": 2}\n')
    folder.starts.write_text('{"command": "cold-start"}\n')
    assert "cold start at step 2" in state_of(folder.root).sentence()
    folder.starts.write_text('{"command": "cold-start"}\n{"command": "train"}\n')
    assert state_of(folder.root).sentence() == "it was stopped in reinforcement learning at step 0 of 9"
    assert "error" not in explain_not_under_way(folder.root)
    folder.error.write_text("Traceback …")
    assert f"because of an error ({folder.error})" in explain_not_under_way(folder.root)


def test_a_run_whose_coordinator_is_gone_was_killed_and_one_that_answers_is_under_way(tmp_path: Path) -> None:
    root = make_run(tmp_path / "run", planned=9, figures=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        RunFolder(root).coordinator.write_text(json.dumps({"address": f"127.0.0.1:{port}"}))
        assert state_of(root).sentence() == "it is under way: reinforcement learning, step 3 of 9"
    assert "it was killed in reinforcement learning at step 3 of 9" in state_of(root).sentence()


def test_a_last_line_that_was_cut_short_is_no_step(tmp_path: Path) -> None:
    root = make_run(tmp_path / "run")
    with RunFolder(root).metrics.open("a") as file:
        file.write('{"step": 4, "lor/rew')
    assert state_of(root).step == 3


@pytest.mark.parametrize("command", [["status"], ["watch"], ["scale", "--rollouts", "2"]])
def test_a_command_for_a_run_under_way_tells_of_one_that_ended(command: list[str], tmp_path: Path) -> None:
    root = make_run(tmp_path / "run")
    told = said(*command, f"run={root}")
    assert f"run {root} is not under way: it finished reinforcement learning at step 3 of 3" in told
    assert f"`sr-real summary run={root}` shows it" in told


@pytest.mark.parametrize("command", ["status", "watch", "scale", "summary", "dashboard", "compare", "config"])
@pytest.mark.parametrize("way", ["run={}", "--run {}", "{}"])
def test_every_way_of_naming_a_run_is_understood_and_a_missing_one_is_named(
    command: str, way: str, tmp_path: Path
) -> None:
    if command == "config" and way == "{}":
        pytest.skip("a word to `config` is looked for")
    options = ["--rollouts", "1"] if command == "scale" else []
    told = said(command, *way.format(tmp_path / "none").split(), *options)
    assert f"run={tmp_path / 'none'}: there is no such folder" in told
    told = said(command, *way.format(tmp_path).split(), *options)
    assert f"run={tmp_path}: it is not a run" in told


def test_a_mistyped_run_is_told_with_the_one_beside_it(tmp_path: Path) -> None:
    make_run(tmp_path / "tabletop")
    assert f"did you mean run={tmp_path / 'tabletop'}?" in said("summary", f"run={tmp_path / 'tabletp'}")
    assert f"there are run={tmp_path / 'tabletop'}" in said("summary", f"run={tmp_path / 'x'}")


def test_the_summary_shows_state_curves_marks_and_what_is_there(tmp_path: Path) -> None:
    root = make_run(tmp_path / "run")
    (root / "checkpoints" / "step-000003").mkdir()
    output = CliRunner().invoke(app, ["summary", f"run={root}"]).output
    assert "it finished reinforcement learning at step 3 of 3" in output.replace("\n", " ")
    assert "50%" in output
    assert "over 3 steps" in output
    assert "step-000003" in output


def test_the_summary_of_a_run_without_marks_says_so(tmp_path: Path) -> None:
    root = make_run(tmp_path / "run", figures=False)
    assert "no figures yet" in CliRunner().invoke(app, ["summary", str(root)]).output


def test_compare_shows_marks_and_says_which_run_has_none(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "one"), make_run(tmp_path / "other", figures=False)
    result = CliRunner().invoke(app, ["compare", f"run={one}", str(other), "--no-page"])
    assert result.exit_code == 0
    assert "one rl" in result.output
    assert "other has no figures yet" in result.output.replace("\n", "")


def test_a_run_is_named_once(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "one"), make_run(tmp_path / "other")
    assert the_run([f"run={one}"], one) == one
    with pytest.raises(ConfigError, match="this takes one run"):
        the_run([f"run={one}", str(other)], None)
    assert runs_named([str(one), f"run={other}"], [one]) == [one, other]
    with pytest.raises(ConfigError, match="this takes one run"):
        with_run([f"run={one}"], other)


def test_a_folder_among_settings_is_the_run_and_a_mistyped_word_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_run(["runs/mine", "seed=1"], None) == ["run=runs/mine", "seed=1"]
    assert with_run(["seed=1"], Path("runs/mine")) == ["run=runs/mine", "seed=1"]
    assert with_run(["/tmp/a=b"], None) == ["run=/tmp/a=b"]
    assert with_run(["resume"], None) == ["resume"]
    (tmp_path / "here").mkdir()
    assert with_run(["here"], None) == ["run=here"]
    with pytest.raises(ConfigError, match="'resume' is not a setting"):
        load_config("demo", with_run(["resume"], None))


def test_the_default_run_is_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["status"], ["watch"], ["scale", "--rollouts", "1"], ["summary"], ["dashboard"], ["compare"]):
        assert "run=runs/demo, the default: there is no such folder" in said(*command)


def test_the_version_names_the_commit_and_the_main_packages() -> None:
    output = CliRunner().invoke(app, ["--version"]).output
    assert output.startswith("sr-real ")
    for package in ("Python 3", "torch ", "vllm", "ray ", "transformers "):
        assert package in output


def test_config_finds_settings_by_word_by_key_and_by_what_others_call_them() -> None:
    by_name = CliRunner().invoke(app, ["config", "lr"]).output
    assert "learner.optimizer.learning_rate" in by_name
    assert "learner.sft.optimizer.learning_rate" in by_name
    everything = CliRunner().invoke(app, ["config"]).output
    assert "training.num_steps" in everything
    assert "required" in everything
    assert "no setting matches 'zork'" in said("config", "zork")


@pytest.mark.parametrize(
    ("preset", "least"), [("demo", 16**2), ("qwen3vl_2b_1gpu", 32**2), ("qwen25vl_7b_lora_1gpu", 28**2)]
)
def test_config_refuses_images_below_one_token_of_the_model(preset: str, least: int) -> None:
    told = said("config", "--config", preset, f"prompt.max_pixels={least - 1}", "prompt.min_pixels=1")
    assert f"set prompt.max_pixels={least} or more" in told
    shown = CliRunner().invoke(
        app, ["config", "--config", preset, f"prompt.max_pixels={least}", "prompt.min_pixels=1", "prompt.max"]
    )
    assert f"prompt.max_pixels = {least}" in shown.output


def test_config_shows_the_values_of_a_preset_or_a_run(tmp_path: Path) -> None:
    output = CliRunner().invoke(app, ["config", "--config", "demo", "learner.optimizer"]).output
    assert "learner.optimizer.learning_rate = 0.008" in output
    laid = CliRunner().invoke(app, ["config", "--config", "demo", "learner.policy_loss=gspo", "policy_loss.clip"])
    assert "gspo" in str(laid.output) + str(laid.exception)
    root = make_run(tmp_path / "run", planned=7)
    for named in (["--run", str(root)], [f"run={root}"]):
        assert "training.num_steps = 7" in CliRunner().invoke(app, ["config", *named, "num_steps"]).output
    assert (
        "training.num_steps = 9"
        in CliRunner().invoke(app, ["config", f"run={root}", "training.num_steps=9", "num_steps"]).output
    )
    saved = tmp_path / "saved.yaml"
    saved.write_text(CliRunner().invoke(app, ["config", "--config", "demo", "--yaml"]).output)
    assert load_config(saved) == load_config("demo")


def test_settings_for_the_doctor_need_a_config() -> None:
    assert "give one with --config" in said("doctor", "learner.num_ranks=8")
