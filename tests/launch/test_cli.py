from pathlib import Path

import pytest

from launch.cli import newest_checkpoint
from learner.checkpoint import CheckpointStore


def test_a_resume_without_a_checkpoint_is_the_beginning_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert newest_checkpoint(tmp_path / "checkpoints") is None
    assert "this is the beginning" in " ".join(capsys.readouterr().out.split())
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
    assert "passed over" in said
    assert "step-000006: the file trainer_state.json has 1 bytes" in said
