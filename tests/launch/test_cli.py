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
