"""A session's parts that need no Ray: with how many rollout workers it begins."""

from pathlib import Path as FilePath

import pytest

from actors.run_folder import RunFolder
from actors.session import Session
from launch.config import load_config
from learner.checkpoint import CheckpointStore


@pytest.mark.anyio
async def test_a_resume_with_another_number_of_workers_than_the_config_says_is_told(tmp_path: FilePath) -> None:
    folder = RunFolder(tmp_path)
    # None, so that no worker has to be started here.
    state = {"step": 4, "num_rollout_workers": 0}
    checkpoint = CheckpointStore(folder.checkpoints, keep=1).save(4, state, write=lambda path: None)
    session = Session(load_config("demo", ["rollout.num_workers=2"]), folder, {})
    pool = await session._start_rollouts(tmp_path / "model", resume_from=checkpoint)
    assert pool.size == 0
    (warning,) = session.status().warnings
    assert "rollout workers: 0, as when" in warning
    assert "step-000004 was written, and not rollout.num_workers=2" in warning
