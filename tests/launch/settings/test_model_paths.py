"""Paths of the wrong kind are told before anything is prepared, with what to do."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from launch.commands.cli import app
from launch.settings.config import PRESETS, ConfigError, load_config
from launch.settings.model_paths import model_folder, training_checkpoint, trajectories_folder
from learner.checkpoint_store import CheckpointStore
from vlm.errors import CheckpointError


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a checkpoint, a model and a recorded step."""
    root = tmp_path / "run"
    CheckpointStore(root / "checkpoints", keep=2).save(5, {"step": 5}, lambda folder: None)
    make_model(root / "final_model")
    (root / "config.json").write_text("{}")
    (root / "trajectories").mkdir()
    (root / "trajectories" / "step-000001.jsonl").touch()
    return root


def told(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, ConfigError), result.output
    return str(result.exception)


def test_a_path_that_is_not_there_is_told_at_once_with_its_flag(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(run / "final_model")
    for arguments in (
        ["rollout-only", "--from", "/nonexist", "run=new"],
        ["learner-only", "--from", "/nonexist", "--trajectories", str(run), "run=new"],
        ["train", "--from", "/nonexist", "run=new"],
    ):
        assert "--from /nonexist: there is no such folder" in told(*arguments)
    assert "--checkpoint /nonexist: there is no such folder" in told("export", "out", "--checkpoint", "/nonexist")
    assert "--checkpoint /nonexist: there is no such folder" in told("evaluate", "--checkpoint", "/nonexist")
    assert "--resume-from /nonexist: there is no such folder" in told("train", "--resume-from", "/nonexist", "run=new")
    told_of_steps = told("learner-only", "--from", model, "--trajectories", str(run), "run=new")
    assert f"did you mean {run / 'trajectories'}?" in told_of_steps
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_in_place_of_a_model_is_told_with_the_command_that_exports_it(run: Path) -> None:
    checkpoint = run / "checkpoints" / "step-000005"
    with pytest.raises(ConfigError, match="is a training checkpoint, but a model is needed") as caught:
        model_folder(checkpoint, "--checkpoint")
    command = re.search(r"^  (sr-real .*)$", str(caught.value), flags=re.MULTILINE)
    assert command is not None
    target = run / "exported" / "step-000005"
    assert shlex.split(command[1]) == ["sr-real", "export", str(target), "--checkpoint", str(checkpoint)]
    assert f"--checkpoint {target}" in str(caught.value)
    assert "is a training checkpoint" in told("evaluate", "--checkpoint", str(checkpoint))


def test_a_model_in_place_of_a_checkpoint_is_told(run: Path) -> None:
    model = str(run / "final_model")
    assert "is a model already" in told("export", "out", "--checkpoint", model)
    with pytest.raises(ConfigError, match=r"name one, such as --checkpoint .*step-000005"):
        training_checkpoint(run, "--checkpoint")
    assert training_checkpoint(run / "checkpoints" / "step-000005", "--checkpoint").name == "step-000005"


def test_a_run_in_place_of_a_model_is_told_with_the_models_in_it(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a run's folder, but a model is needed here; it contains .*final_model"):
        model_folder(run, "--from")
    assert model_folder(run / "final_model", "--from") == run / "final_model"


def test_a_damaged_checkpoint_is_told_as_such(run: Path) -> None:
    checkpoint = run / "checkpoints" / "step-000005"
    (checkpoint / "trainer_state.json").unlink()
    with pytest.raises(CheckpointError, match=r"trainer_state\.json is missing"):
        training_checkpoint(checkpoint, "--checkpoint")


def test_recorded_steps_are_looked_for(run: Path, tmp_path: Path) -> None:
    assert trajectories_folder(run / "trajectories", "--trajectories").name == "trajectories"
    with pytest.raises(ConfigError, match="no step is recorded in it"):
        trajectories_folder(tmp_path, "--trajectories")


def test_the_shape_of_a_presets_model_comes_with_the_program_and_of_others_a_config_in_the_cache_is_enough(
    tmp_path: Path,
) -> None:
    code = "import sys; from launch.settings.model_paths import *; path = sys.argv[1]"
    code += "; print(has_weights(path), find_shape(path))"

    def look(name: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HF_HOME": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-c", code, name], env=environment, capture_output=True, text=True, timeout=60
        )

    for preset in PRESETS.glob("*gpu.yaml"):
        path = load_config(str(preset)).model.path  # type: ignore[union-attr]
        if path.startswith("Qwen/"):
            assert re.fullmatch(rf"False .*/launch/shapes/{path.removeprefix('Qwen/')}\n", look(path).stdout), path
    assert "`hf download Some/Model config.json preprocessor_config.json`" in look("Some/Model").stderr
    repository = tmp_path / "hub" / "models--Some--Model"
    snapshot = make_model(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert look("Some/Model").stdout.strip() == f"False {snapshot}"
    (snapshot / "model.safetensors").touch()
    assert look("Some/Model").stdout.strip() == f"True {snapshot}"


def test_a_hub_name_is_looked_up_in_the_cache_alone_and_at_once(tmp_path: Path) -> None:
    code = "import sys; from launch.settings.model_paths import cached_model; print(cached_model(sys.argv[1]))"

    def look(name: str) -> subprocess.CompletedProcess[str]:
        # huggingface_hub reads its environment once, when it is imported.
        environment = {**os.environ, "HF_HOME": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-c", code, name], env=environment, capture_output=True, text=True, timeout=60
        )

    assert "`hf download Some/Model`" in look("Some/Model").stderr
    repository = tmp_path / "hub" / "models--Some--Model"
    snapshot = repository / "snapshots" / "abc"
    make_model(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert "has only a part of it" in look("Some/Model").stderr
    (snapshot / "model.safetensors").touch()
    assert look("Some/Model").stdout.strip() == str(snapshot)
