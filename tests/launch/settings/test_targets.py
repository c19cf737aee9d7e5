"""Folders to write to, and the space that there must be, are looked at before anything is loaded."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.run.run_folder import RunFolder
from launch.commands import cli
from launch.machine.space import check_space_for, checkpoint_bytes, count_parameters
from launch.settings import targets
from launch.settings.config import ConfigError, load_config
from launch.settings.targets import check_free_folder, check_writable, export_target
from learner.checkpoint_store import CheckpointStore
from vlm.export import PROMPT_FILE

BASE = Path(__file__).parents[3] / "assets" / "tiny-base"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """As much of one as tells the size of its model: 7 MB."""
    folder = tmp_path / "step-000001"
    folder.mkdir()
    (folder / "layout.json").write_text('{"weights": {"embed": [1000, 1750]}}')
    return folder


def test_an_export_replaces_an_earlier_one_and_nothing_else(tmp_path: Path, checkpoint: Path) -> None:
    target = tmp_path / "out"
    assert export_target(target, checkpoint) == target
    (target / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match=r"out holds files that no earlier export wrote"):
        export_target(target, checkpoint)
    assert (target / "thesis.tex").read_text() == "mine"
    (target / PROMPT_FILE).touch()
    assert export_target(target, checkpoint) == target
    with pytest.raises(ConfigError, match="is a file; give a folder"):
        export_target(target / "thesis.tex", checkpoint)


def test_an_export_never_replaces_a_part_of_a_run(tmp_path: Path, checkpoint: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.create()
    run.write_config("{}")
    run.final_model.mkdir()
    (run.final_model / PROMPT_FILE).touch()
    with pytest.raises(ConfigError, match=r"final_model belongs to the run"):
        export_target(run.final_model, checkpoint)
    assert export_target(run.root / "exported" / "step-000001", checkpoint).is_dir()


def test_the_base_never_replaces_a_folder_that_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    done = CliRunner().invoke(cli.app, ["base", "--out", str(tmp_path), f"run={tmp_path / 'run'}"])
    assert isinstance(done.exception, ConfigError)
    assert "no base.json" in str(done.exception)
    assert (tmp_path / "thesis.tex").read_text() == "mine"
    check_free_folder(BASE, "base.json", "`sr-real base`")


def test_a_folder_that_cannot_be_made_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/out is not writable .Not a directory."):
        check_writable(tmp_path / "file" / "out")


def test_too_little_space_is_said_with_what_is_needed(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "free_bytes", lambda path: 3_000_000)
    with pytest.raises(ConfigError, match=r"the model will take about 7 MB, and 3 MB are free on /"):
        export_target(tmp_path / "out", checkpoint)
    config, folder = load_config("demo"), RunFolder(tmp_path)
    with pytest.raises(ConfigError, match=r"2 checkpoints, one that is being written, and the trained model will take"):
        check_space_for(config, folder, BASE, ("train",))
    check_space_for(config, folder, BASE, ())


def test_a_checkpoints_size_follows_from_what_is_trained_and_how() -> None:
    learner = load_config("demo").learner
    number, trained = count_parameters(BASE, learner)
    assert 4 * number == pytest.approx(sum(file.stat().st_size for file in BASE.glob("*.safetensors")), rel=0.01)
    assert 0 < trained < number / 4  # one of several layers
    assert checkpoint_bytes(BASE, learner) == 4 * number  # Adafactor keeps next to nothing
    adamw = learner.optimizer.replace(type="adamw", learning_rate=1e-5)
    whole = learner.replace(optimizer=adamw, freeze=(), last_language_layers=None)
    assert count_parameters(BASE, whole) == (number, number)
    assert checkpoint_bytes(BASE, whole) == 12 * number


def test_checkpoints_that_are_there_make_room_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, folder = load_config("demo"), RunFolder(tmp_path)
    size = checkpoint_bytes(BASE, config.learner)
    monkeypatch.setattr(targets, "free_bytes", lambda path: int(2.5 * size))
    with pytest.raises(ConfigError, match="will take"):
        check_space_for(config, folder, BASE, ("train",))
    for step in (1, 2):
        CheckpointStore(folder.checkpoints, keep=2).save(step, {}, lambda _: None)
    check_space_for(config, folder, BASE, ("train",))
