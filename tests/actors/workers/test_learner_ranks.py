"""A learner rank over an engine of the test's own: which version it says that its weights are of."""

import socket
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from actors.config import DeadlineConfig
from actors.workers.learner_group import LearnerGroup
from actors.workers.learner_rank import LearnerRank, LearnerSpec
from flow.group import Group
from flow.score import Score
from learner.batch import TrainingRow
from learner.config import LearnerConfig
from learner.errors import PortTakenError
from learner.process_group import join_process_group
from rollout.config import EngineConfig
from spatial.sample import ReasoningPath
from tests.actors.fake_workers import make_requests
from tests.actors.fakes import make_sample, make_trajectory
from tests.rollout.transfer.receivers import ThreadReceiver
from tests.rollout.transfer.test_gloo import Receiver
from vlm.attention import PADDED, Attention
from vlm.config import PromptConfig


class FakeEngine:
    """Remembers which version it was said to hold at each update."""

    def __init__(self) -> None:
        self.versions: list[int | None] = []

    def policy_update(self, rows: Sequence[TrainingRow], weight_version: int | None) -> dict[str, float]:
        self.versions.append(weight_version)
        return {}


def make_rank(version: int | None) -> tuple[LearnerRank, FakeEngine]:
    """A rank that has pushed `version` last."""
    nowhere = Path("nowhere")
    spec = LearnerSpec(
        config=LearnerConfig(),
        model=nowhere,
        reference=None,
        images=nowhere,
        prompt=PromptConfig(),
        checkpoints=nowhere,
        keep_checkpoints=1,
        total_steps=None,
        on_gpu=False,
        steps_per_update=0,
        temperature=1.0,
        num_threads=None,
    )
    rank, engine = LearnerRank(spec, rank=0), FakeEngine()
    rank._engine, rank._encoder, rank._version = engine, SimpleNamespace(tokenizer=None), version
    return rank, engine


def make_group() -> Group:
    trajectories = tuple(make_trajectory(request, version=0) for request in make_requests(2))
    scores = tuple(Score(total=total, accuracy=total, format=1.0) for total in (0.0, 1.0))
    return Group(0, make_sample("s0"), ReasoningPath.LOR, trajectories, scores)


def test_an_update_makes_a_new_version_also_when_there_is_no_engine_to_push_it_to() -> None:
    rank, engine = make_rank(version=4)
    for _ in range(3):
        rank.update([make_group()])
    assert engine.versions == [4, 5, 6]


def test_a_learner_without_engines_knows_no_version() -> None:
    rank, engine = make_rank(version=None)
    for _ in range(2):
        rank.update([make_group()])
    assert engine.versions == [None, None]


class OneSkipped(LearnerGroup):
    """Ranks that skip one step of each call."""

    def __init__(self, report: Any) -> None:
        self._report = report
        self._deadlines = DeadlineConfig()

    async def _call(self, timeout_s: float, method: Callable[..., Any], *args: object, **kwargs: object) -> Any:
        return {
            LearnerRank.cold_start_steps: [{"nonfinite_steps": 0.0}, {"nonfinite_steps": 1.0}],
            LearnerRank.take_warnings: ["optimiser step 2 was skipped"],
        }[method]


@pytest.mark.anyio
async def test_an_optimiser_step_that_was_skipped_is_reported_to_the_run() -> None:
    told: list[str] = []
    await OneSkipped(told.append).cold_start_steps(0, 2)
    assert told == ["optimiser step 2 was skipped"]


@pytest.mark.parametrize("rank_of_learner", [0, 1])
def test_a_rank_connects_packs_and_pushes_at_a_port_of_its_own_choice(rank_of_learner: int) -> None:
    model = torch.nn.Linear(3, 2)
    rank, engine = make_rank(version=None)
    rank._rank, engine.vlm, engine.device = rank_of_learner, model, torch.device("cpu")
    receivers = [Receiver("one"), Receiver("two")]
    for version, members in enumerate((receivers, receivers[1:]), start=1):
        with torch.no_grad():
            model.weight.fill_(version)
        receiving = [ThreadReceiver(receiver) for receiver in members]
        rank.connect(receiving, EngineConfig(transfer_timeout_s=20), "127.0.0.1")
        rank.pack(version)
        receipt = rank.push(version)
        assert receipt.num_bytes == 4 * (6 + 2)
        assert receipt.checksums.keys() == ({"weight", "bias"} if rank_of_learner == 0 else set())
        for receiver in members if rank_of_learner == 0 else ():
            assert receiver.version == version
            assert torch.equal(receiver.tensors["weight"], model.weight)
    assert receivers[0].version == (1 if rank_of_learner == 0 else None)


class RemoteMethod:
    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    async def remote(self, *arguments: object) -> Any:
        return self._call(*arguments)


class PlayedRank:
    """A rank's handle; the ports of `taken` are another process's."""

    def __init__(self, rank: int, ports: list[int], taken: Collection[int], started: list[tuple[int, int]]) -> None:
        def start(address: str, port: int) -> Attention:
            started.append((rank, port))
            if port in taken and rank == 0:
                raise PortTakenError(f"port {port} of {address} was taken by another process meanwhile")
            return PADDED

        self.address = RemoteMethod(lambda: ("10.0.0.1", ports.pop(0)))
        self.start = RemoteMethod(start)


class PlayedGroup(LearnerGroup):
    """Two ranks that need no Ray."""

    def __init__(self, ports: list[int], taken: Collection[int]) -> None:
        self.started: list[tuple[int, int]] = []
        self.num_ended = 0
        self._spec = SimpleNamespace(config=LearnerConfig(num_ranks=2))
        self._deadlines = DeadlineConfig()
        self._new_rank = lambda rank: PlayedRank(rank, ports, taken, self.started)
        self._ranks = []

    async def _make_rank(self, rank: int) -> Any:
        return self._new_rank(rank)

    def shutdown(self) -> None:
        self.num_ended += len(self._ranks)
        self._ranks = []


@pytest.mark.anyio
async def test_ranks_whose_port_was_taken_meanwhile_start_again_at_another() -> None:
    group = PlayedGroup(ports=[5000, 5001, 5002], taken={5000, 5001})
    assert await group.start() == PADDED
    assert [port for rank, port in group.started if rank == 0] == [5000, 5001, 5002]
    assert group.num_ended == 4
    group = PlayedGroup(ports=[5000, 5001, 5002], taken={5000, 5001, 5002})
    with pytest.raises(PortTakenError, match=r"port 5002 of 10\.0\.0\.1 was taken"):
        await group.start()


def test_a_port_that_another_process_holds_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} of 127"):
            join_process_group(0, 1, "127.0.0.1", port, timeout_s=5, on_gpu=False)
    assert not torch.distributed.is_initialized()
