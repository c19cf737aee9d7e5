"""What the phases of a run share, and how a stop ends a phase; without Ray."""

import asyncio
import pickle
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from actors.phases.cold_start import ColdStart
from actors.phases.control import PhaseControl
from actors.phases.coordinator import Coordinator
from actors.phases.evaluation import Evaluate
from actors.phases.export import Export
from actors.phases.learner_only import LearnerOnly
from actors.phases.phase import Phase
from actors.phases.reinforcement import Reinforce, fall_back
from actors.phases.rollout_only import RolloutOnly
from actors.phases.session import Session
from actors.run.run_folder import RunFolder
from evaluation.config import EvaluationConfig
from evaluation.exam import Exam
from launch.settings.config import load_config
from learner.checkpoint_store import CheckpointStore
from tests.actors.fakes import make_sample


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
    assert await fall_back(session, RuntimeError("learner-0 died")) == written
    took_s = time.perf_counter() - started_s
    counting.cancel()
    # 200 MiB are hashed in a tenth of a second or more; on the loop's own thread nothing else would have had a turn.
    assert num_turns > 20 * took_s
    (warning,) = session.status().warnings
    assert warning.startswith("learner-0 died; a new learner continues from step 4")


@pytest.mark.anyio
async def test_a_resume_with_another_number_of_workers_than_the_config_says_is_told(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    # None, so that no worker has to be started here.
    state = {"step": 4, "num_rollout_workers": 0}
    checkpoint = CheckpointStore(folder.checkpoints, keep=1).save(4, state, write=lambda path: None)
    session = Session(load_config("demo", ["rollout.num_workers=2"]), folder, {})
    pool = await session.start_rollouts(tmp_path / "model", resume_from=checkpoint)
    assert pool.size == 0
    (warning,) = session.status().warnings
    assert "rollout workers: 0, as when" in warning
    assert "step-000004 was written, instead of rollout.num_workers=2" in warning


@dataclass(frozen=True)
class LoadForEver:
    async def run(self, session: Session) -> str:
        session.control.begin("loading engines")
        await asyncio.Event().wait()
        raise AssertionError


@dataclass(frozen=True)
class Train:
    """Ends by itself when it is asked to, as phases with something to save do."""

    async def run(self, session: Session) -> str:
        session.control.begin("RL", 10, saves=True)
        while not session.control.is_stopping:
            await asyncio.sleep(0.001)
        session.control.advance(3, {"step": 3})
        return "saved"


@dataclass(frozen=True)
class Fail:
    async def run(self, session: Session) -> str:
        raise asyncio.CancelledError("by somebody else")


@pytest.mark.anyio
async def test_a_stop_where_there_is_nothing_to_save_ends_the_phase_at_once_and_no_such_part_begins_after_it(
    tmp_path: Path,
) -> None:
    coordinator = Coordinator(load_config("demo", []), tmp_path, {})
    phase = asyncio.create_task(coordinator.run(LoadForEver()))
    await asyncio.sleep(0.01)
    assert not phase.done()
    assert (await coordinator.status()).progress.phase == "loading engines"
    await coordinator.stop()
    async with asyncio.timeout(1):
        assert await phase is None
    control = PhaseControl()
    control.stop()
    with pytest.raises(asyncio.CancelledError):
        control.begin("questions")
    control.begin("RL", 10, saves=True)  # it has a checkpoint to write


@pytest.mark.anyio
async def test_a_stop_does_not_cancel_a_phase_that_writes_a_checkpoint_first(tmp_path: Path) -> None:
    coordinator = Coordinator(load_config("demo", []), tmp_path, {})
    phase = asyncio.create_task(coordinator.run(Train()))
    await asyncio.sleep(0.01)
    await coordinator.stop()
    assert await phase == "saved"
    progress = (await coordinator.status()).progress
    assert (progress.phase, progress.done, progress.total, progress.metrics) == ("RL", 3, 10, {"step": 3})


@pytest.mark.anyio
async def test_a_cancellation_that_is_no_stop_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(asyncio.CancelledError, match="by somebody else"):
        await Coordinator(load_config("demo", []), tmp_path, {}).run(Fail())


@pytest.mark.anyio
async def test_nobody_watches_for_long_waits_when_no_phase_runs(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    coordinator = Coordinator(load_config("demo", []), tmp_path, {})
    phase = asyncio.create_task(coordinator.run(Train()))
    await asyncio.sleep(0.01)
    assert len(asyncio.all_tasks() - before) == 2
    await coordinator.stop()
    await phase
    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == before


PHASES: list[Phase[object]] = [
    ColdStart(Path("model"), resume_from=Path("step-000010")),
    Reinforce(Path("model")),
    Evaluate(Path("model"), [make_sample("s1")], EvaluationConfig(), Path("images")),
    RolloutOnly(Path("model")),
    LearnerOnly(Path("model"), Path("trajectories")),
    Export(Path("base"), Path("step-000010"), Path("out")),
]


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: type(phase).__name__)
def test_a_phase_crosses_to_the_coordinator_whole(phase: Phase[object]) -> None:
    assert pickle.loads(pickle.dumps(phase)) == phase


def test_exams_cross_to_the_coordinator_with_the_phase() -> None:
    phase = Reinforce(Path("model"), exams=(Exam.held_out([make_sample("s1")]),))
    (exam,) = pickle.loads(pickle.dumps(phase)).exams
    assert exam.rule.name == "held-out"
    assert exam.samples == [make_sample("s1")]
