import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.run.run_folder import RunFolder
from launch.commands.cli import app, newest_checkpoint
from launch.run.record import record_start
from launch.settings.config import ConfigError, load_config
from learner.checkpoint_store import CheckpointStore

BASE = Path(__file__).parents[3] / "assets" / "tiny-base"


def test_a_resume_without_a_checkpoint_is_the_beginning_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert newest_checkpoint(tmp_path / "checkpoints") is None
    assert "starting from the beginning" in " ".join(capsys.readouterr().out.split())
    CheckpointStore(tmp_path / "checkpoints", keep=2).save(3, {"step": 3}, lambda _: None)
    found = newest_checkpoint(tmp_path / "checkpoints")
    assert found is not None
    assert found.name == "step-000003"
    assert found.is_absolute()


def test_a_resume_passes_over_a_damaged_checkpoint_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (3, 6):
        CheckpointStore(tmp_path, keep=2).save(step, {"step": step}, lambda _: None)
    (tmp_path / "step-000006" / "trainer_state.json").write_text("{")
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "step-000003"
    said = " ".join(capsys.readouterr().out.split())
    assert "skipped" in said
    assert "step-000006: the file trainer_state.json has 1 bytes" in said


@pytest.mark.parametrize("command", ["evaluate", "train", "cold-start", "export"])
@pytest.mark.parametrize("named", [["--config", "demo"], ["seed=3"], ["data.type=scenes"]])
def test_no_command_on_a_run_touches_a_persons_data_or_the_record(
    tmp_path: Path, command: str, named: list[str]
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "train.jsonl").write_text("sixty lines\n" * 60)
    run = RunFolder(tmp_path / "run")
    run.create()
    run.data.symlink_to(mine)
    config = load_config("demo", [f"run={run.root}", "data.type=files", f"data.folder={mine}"])
    record_start(run, config, "train", BASE)
    layout = json.dumps({"weights": {}})
    checkpoint = CheckpointStore(run.checkpoints, keep=2).save(
        3, {"step": 3, "lanes": {}}, lambda folder: (folder / "layout.json").write_text(layout) and None
    )
    record = run.config.read_bytes()
    given = {
        "evaluate": ["--checkpoint", str(BASE)],
        "train": ["--from", str(BASE)],
        "cold-start": [],
        "export": [str(tmp_path / "out"), "--checkpoint", str(checkpoint)],
    }
    done = CliRunner().invoke(app, [command, *given[command], f"run={run.root}", *named])
    assert isinstance(done.exception, ConfigError)
    assert "was trained with other settings" in str(done.exception)
    assert [file.name for file in mine.iterdir()] == ["train.jsonl"]
    assert (mine / "train.jsonl").read_text() == "sixty lines\n" * 60
    assert run.config.read_bytes() == record
