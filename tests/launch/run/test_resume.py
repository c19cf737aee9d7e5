"""Resume commands that are printed work when they are pasted."""

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.run.run_folder import RunFolder
from launch.commands import cli
from launch.run.record import record_start
from launch.run.resume import SUBMITTED, check_resumable, resume_command, resume_command_of
from launch.run.run_config import folder_of
from launch.settings.config import RunConfig, load_config
from learner.checkpoint_store import CheckpointStore
from learner.training_state import layout_settings
from vlm.errors import CheckpointError


@pytest.mark.parametrize(
    "name", ["plain", "with spaces", "a #b", "it's", "x: y", "[list]", "{a: 1}", "null", "1.50", "ü"]
)
@pytest.mark.parametrize("command", ["cold-start", "train"])
def test_a_printed_command_means_the_same_run_whatever_it_is_called(tmp_path: Path, name: str, command: str) -> None:
    run = str(tmp_path / name)
    printed = shlex.split(resume_command(RunFolder(Path(run)), run, command))
    assert printed[:3] == ["sr-real", command, "--resume"]
    assert folder_of(None, printed[3:]).root == Path(run)


def test_a_printed_command_names_the_model_that_training_started_from(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    base = tmp_path / "my base"
    command = resume_command(folder, str(folder.root), "train", base)
    assert shlex.split(command) == ["sr-real", "train", "--resume", "--from", str(base), f"run={folder.root}"]
    assert "--from" not in resume_command(folder, str(folder.root), "train", folder.cold_start_model)


def test_a_killed_runs_folder_tells_how_to_resume_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    config = load_config("demo", [f"run={folder.root}"])
    record_start(folder, config, "cold-start")
    assert resume_command_of(folder.root) == f"sr-real cold-start --resume run={folder.root}"
    record_start(folder, config, "train", tmp_path / "base")
    record_start(folder, config, "evaluate")
    assert resume_command_of(folder.root) == f"sr-real train --resume --from {tmp_path / 'base'} run={folder.root}"


def test_a_submitted_job_is_resumed_by_submitting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SUBMITTED, "sr-real submit --address http://head:8265 --python python")
    printed = shlex.split(resume_command(RunFolder(tmp_path), "/shared/run", "cold-start"))
    start = ["sr-real", "submit", "--address", "http://head:8265", "--python", "python"]
    assert printed == [*start, "--command", "cold-start", "--resume", "run=/shared/run"]


def test_a_printed_command_is_one_that_the_program_takes(tmp_path: Path) -> None:
    """It comes as far as the model that is not there; its words are understood."""
    run = str(tmp_path / "a #b")
    for command in ("train", "cold-start"):
        printed = shlex.split(resume_command(RunFolder(Path(run)), run, command, tmp_path / "no model"))[1:]
        if command == "train":
            done = CliRunner().invoke(cli.app, printed)
            assert "no model: there is no such folder" in str(done.exception)


def checkpoint_of(tmp_path: Path, state: dict[str, object], config: RunConfig, is_train: bool = True) -> Path:
    """A checkpoint's small files, without its weights."""
    learner = config.learner if is_train else config.learner.for_cold_start()

    def write(folder: Path) -> None:
        (folder / "layout.json").write_text(json.dumps({**layout_settings(learner), "weights": {}}))

    return CheckpointStore(tmp_path / "checkpoints", keep=1).save(3, state, write)


LANES = {"step": 3, "lanes": {"lor": {}, "dtr": {}}}


def test_what_a_checkpoint_was_made_with_can_go_on(tmp_path: Path) -> None:
    config = load_config("demo")
    check_resumable(checkpoint_of(tmp_path, LANES, config), "train", config)
    cold = checkpoint_of(tmp_path, {"losses": [], "seconds": 1.0}, config, is_train=False)
    check_resumable(cold, "cold-start", config)
    with pytest.raises(
        CheckpointError, match=r"was not written by `sr-real train`: its state has no step and no lanes"
    ):
        check_resumable(cold, "train", config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.groups_per_step.direct=4", r"direct was not trained, but training\.groups_per_step asks for it"),
        ("learner.freeze=[vision]", r'but learner\.freeze is \["vision"\]'),
        (
            "learner.optimizer={type: muon, learning_rate: 4e-3}",
            r'optimizer is "adafactor", but learner\.optimizer\.type is "muon"',
        ),
        ("learner.last_language_layers=null", r"learner\.last_language_layers is null"),
        ("learner.num_ranks=2", r"learner\.num_ranks is 2"),
    ],
)
def test_what_a_checkpoint_does_not_fit_is_known_from_its_small_files(
    tmp_path: Path, override: str, message: str
) -> None:
    checkpoint = checkpoint_of(tmp_path, LANES, load_config("demo"))
    with pytest.raises(CheckpointError, match=message):
        check_resumable(checkpoint, "train", load_config("demo", [override]))
