"""The client of a coordinator, over a real Ray actor: calls arrive as they were made, and errors come in its words."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import ray

from actors.errors import CoordinatorGoneError, NoAnswerError, RequestRefusedError
from actors.phases.client import CoordinatorClient, PhaseFailedError
from actors.phases.session import Session
from launch.settings.config import load_config

pytestmark = pytest.mark.stack


@dataclass(frozen=True)
class Echo:
    text: str

    async def run(self, session: Session) -> str:
        session.control.begin("echo", 2)
        return f"{self.text} in {session.folder.root.name}"


@dataclass(frozen=True)
class Wait:
    async def run(self, session: Session) -> str:
        import asyncio

        session.control.begin("waiting")
        await asyncio.Event().wait()
        raise AssertionError


@dataclass(frozen=True)
class Fail:
    async def run(self, session: Session) -> str:
        raise ValueError("no tokenizer")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, namespace="client")
    yield
    ray.shutdown()


@pytest.fixture
def client(cluster: None, tmp_path: Path) -> Iterator[CoordinatorClient]:
    made = CoordinatorClient.start(load_config("demo", []), tmp_path / "mine", {}, namespace="client", answer_s=60)
    yield made
    ray.kill(made.actor)


def test_a_phase_s_result_comes_back_and_whoever_joins_finds_the_coordinator(client: CoordinatorClient) -> None:
    assert client.begin(Echo("words")).result() == "words in mine"
    found = CoordinatorClient.find(60, who="the coordinator of mine")
    assert (found.status().progress.phase, found.status().progress.total) == ("echo", 2)


def test_a_refusal_an_error_and_silence_are_told_apart(client: CoordinatorClient) -> None:
    with pytest.raises(RequestRefusedError, match="the run has no rollout workers yet: it is at 'starting'"):
        client.scale(2)
    with pytest.raises(RequestRefusedError, match="no rollout workers yet"):
        client.drain("rollout-0")
    with pytest.raises(PhaseFailedError) as failed:
        client.begin(Fail()).result()
    assert str(failed.value) == "ValueError: no tokenizer"
    assert isinstance(failed.value.cause, ValueError)
    assert 'raise ValueError("no tokenizer")' in failed.value.traceback
    with pytest.raises(NoAnswerError, match=r"^mine did not answer 'status' in 0 s$"):
        replace(client, answer_s=0, who="mine").status()


def test_a_stop_ends_a_phase_without_a_result(client: CoordinatorClient) -> None:
    phase = client.begin(Wait())
    assert not phase.has_ended(within_s=0.5)
    client.stop()
    assert phase.result() is None


def test_a_coordinator_that_was_killed_is_gone_for_its_phase_and_for_every_call(client: CoordinatorClient) -> None:
    pids = [ray.get(client.actor.__ray_call__.remote(lambda self: os.getpid()))]
    phase = client.begin(Wait())
    assert not phase.has_ended(within_s=0.2)
    os.kill(pids[0], signal.SIGKILL)
    with pytest.raises(CoordinatorGoneError):
        phase.result()
    with pytest.raises(CoordinatorGoneError):
        client.status()
