"""A session's parts that need no Ray: with how many rollout workers it begins."""

import asyncio
import time
from pathlib import Path

import pytest

from actors.phases.coordinator import Coordinator
from actors.phases.session import Session
from actors.pool.rollout_pool import RolloutPool
from actors.run.run_folder import RunFolder
from launch.settings.config import load_config
from learner.checkpoint_store import CheckpointStore


@pytest.mark.anyio
async def test_the_last_checkpoint_is_read_beside_the_loops_of_a_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    written = CheckpointStore(folder.checkpoints, keep=1).save(
        4, {"step": 4}, write=lambda path: (path / "weights").write_bytes(bytes(200 * 2**20))
    )
    session = Session(load_config("demo", []), folder, {})
    num_turns = 0

    async def count() -> None:
        nonlocal num_turns
        while True:
            num_turns += 1
            await asyncio.sleep(0.001)

    counting = asyncio.ensure_future(count())
    started_s = time.perf_counter()
    assert await session._fall_back(RuntimeError("learner-0 died")) == written
    took_s = time.perf_counter() - started_s
    counting.cancel()
    # 200 MiB are hashed in a tenth of a second or more; on the loop's own thread nothing else would have had a turn.
    assert num_turns > 20 * took_s
    (warning,) = session.status().warnings
    assert warning.startswith("learner-0 died; a new learner goes on from step 4")


@pytest.mark.anyio
async def test_a_resume_with_another_number_of_workers_than_the_config_says_is_told(tmp_path: Path) -> None:
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


class LoadingForEver(Session):
    async def _start_rollouts(
        self, checkpoint: Path, resume_from: Path | None = None, images: Path | None = None
    ) -> RolloutPool:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.anyio
async def test_a_stop_where_there_is_nothing_to_save_ends_the_phase_at_once(tmp_path: Path) -> None:
    config = load_config("demo", [])
    coordinator = Coordinator(config, tmp_path, {})
    coordinator._session = LoadingForEver(config, RunFolder(tmp_path), {})
    phase = asyncio.create_task(coordinator.evaluate(tmp_path, [], config.evaluation, tmp_path))
    await asyncio.sleep(0.01)
    assert not phase.done()
    await coordinator.stop()
    async with asyncio.timeout(1):
        assert await phase is None
    # Nor does another begin.
    with pytest.raises(asyncio.CancelledError):
        coordinator._session._begin("questions", 0)


@pytest.mark.anyio
async def test_a_stop_does_not_cancel_a_phase_that_writes_a_checkpoint_first(tmp_path: Path) -> None:
    session = Session(load_config("demo", []), RunFolder(tmp_path), {})

    async def train() -> str:
        session._begin("RL", 10, saves=True)
        await asyncio.sleep(0.02)
        return "saved"

    phase = asyncio.create_task(train())
    await asyncio.sleep(0.01)
    session.stop()
    assert await phase == "saved"
