"""The deadlines around NCCL, with a hand-written communicator that waits for a dead member for ever, as NCCL does."""

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import pytest
import torch
from vllm.distributed.weight_transfer.base import WeightSource
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory, WeightTransferTrainerFactory

from rollout.config import NcclTransferConfig
from rollout.errors import TransferError, WorkersFailedError
from rollout.plugin import register
from rollout.transfer.channel import trainer_init_info
from rollout.transfer.client import FanOutClient, WeightUpdate
from rollout.transfer.nccl import (
    NcclInitInfo,
    NcclTrainerInitInfo,
    NcclTrainerWeightTransferEngine,
    NcclWeightTransferEngine,
    Watch,
)
from tests.rollout.transfer.test_gloo import TENSORS, DictSource

from .receivers import ThreadReceiver

TIMEOUT_S = 1.0


class PlayedGroup:
    """A communicator: a broadcast ends once every receiver has taken it, or the communicator is aborted."""

    def __init__(self, num_receivers: int) -> None:
        self._lock = threading.Condition()
        self._num_receivers = num_receivers
        self._sent: list[tuple[str, torch.Tensor]] = []
        self._num_taken = 0
        self.is_aborted = False

    def broadcast(self, name: str, tensor: torch.Tensor) -> None:
        with self._lock:
            if self.is_aborted:  # vLLM's does nothing then
                return
            self._sent.append((name, tensor.clone()))
            self._lock.notify_all()
            wanted = len(self._sent) * self._num_receivers
            self._lock.wait_for(lambda: self.is_aborted or self._num_taken >= wanted)

    def take(self, index: int) -> tuple[str, torch.Tensor]:
        with self._lock:
            self._lock.wait_for(lambda: self.is_aborted or len(self._sent) > index)
            if self.is_aborted:
                raise ConnectionError("the sender has aborted")
            self._num_taken += 1
            self._lock.notify_all()
            return self._sent[index]

    def destroy(self) -> None:
        with self._lock:
            self.is_aborted = True
            self._lock.notify_all()


class PlayedTrainer(NcclTrainerWeightTransferEngine):
    """The trainer's end with its own communicator; `group` is the one that the receivers know."""

    group: PlayedGroup
    open_with: Callable[[], PlayedGroup]

    def open_communicator(self, listener: socket.socket, info: NcclTrainerInitInfo) -> PlayedGroup:
        assert listener.getsockname()[1] > 0
        listener.close()
        return type(self).open_with()

    def _broadcast(self, source: WeightSource, meta: object) -> None:
        for name, tensor in source:
            self.model_update_group.broadcast(name, tensor)


class Receiver:
    """A worker with one engine rank, and what is wrong with it."""

    num_ranks = 1

    def __init__(self, name: str, fault: str = "") -> None:
        self.name, self.fault = name, fault
        self.group: PlayedGroup | None = None
        self.invitation: dict[str, Any] = {}
        self.tensors: dict[str, torch.Tensor] = {}
        self.version: int | None = None

    def join_transfer(self, fields: dict[str, Any]) -> None:
        if self.fault == "refuses":
            raise PermissionError("not me")
        if self.fault == "absent":
            time.sleep(30)
        self.invitation = fields

    def start_update(self, unchanged: Mapping[str, int], hashed: Sequence[str]) -> None:
        self.tensors.clear()

    def receive_weights(self, fields: dict[str, Any]) -> None:
        assert self.group is not None
        for index in range(len(fields["names"])):
            if index == 2 and self.fault == "dies":
                raise ConnectionError("killed")
            if index == 2 and self.fault == "hangs":
                time.sleep(30)
            name, tensor = self.group.take(index)
            self.tensors[name] = tensor

    def finish_update(self, version: int) -> None:
        self.version = version


class Group(NamedTuple):
    """A sender and the engines that it sends to."""

    client: FanOutClient
    trainer: PlayedTrainer

    def send_weights(self) -> None:
        with self.client.sending(WeightUpdate(version=5)):
            self.trainer.send_weights()


def form(
    receivers: list[Receiver], source: WeightSource, rank: int = 0, opened: Callable[[], PlayedGroup] | None = None
) -> Group:
    register()
    client = FanOutClient([ThreadReceiver(receiver) for receiver in receivers], TIMEOUT_S)
    info = trainer_init_info(
        NcclTransferConfig(),
        rank=rank,
        world_size=client.world_size,
        master_address="127.0.0.1",
        timeout_s=TIMEOUT_S,
    )
    group = PlayedGroup(len(receivers))
    for receiver in receivers:
        receiver.group = group
    trainer = type("Trainer", (PlayedTrainer,), {"open_with": staticmethod(opened or (lambda: group))})
    return Group(client, trainer.trainer_init(info, client=client, source=source))


def test_the_backend_with_deadlines_is_the_one_that_the_config_means() -> None:
    register()
    backend = NcclTransferConfig.backend
    assert WeightTransferTrainerFactory._registry[backend]() is NcclTrainerWeightTransferEngine
    assert WeightTransferEngineFactory._registry[backend]() is NcclWeightTransferEngine
    assert NcclTrainerInitInfo.backend == backend


def test_every_receiver_is_invited_with_the_deadline_and_gets_every_tensor() -> None:
    receivers = [Receiver("one"), Receiver("two")]
    form(receivers, DictSource(TENSORS)).send_weights()
    for rank, receiver in enumerate(receivers, start=1):
        info = NcclInitInfo(**receiver.invitation)
        assert (info.rank_offset, info.world_size, info.timeout_s) == (rank, 3, TIMEOUT_S)
        assert info.master_port
        assert info.packed
        assert receiver.version == 5
        assert all(torch.equal(receiver.tensors[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize(
    ("fault", "told", "least_s", "most_s"),
    [
        ("dies", "bad: ConnectionError: killed", 0.0, 2.5),
        ("hangs", r"bad: no answer within (1|0\.9\d) s", 0.9, 4.0),
    ],
)
def test_a_member_that_dies_or_hangs_in_a_push_is_named_and_the_sender_lives_on(
    fault: str, told: str, least_s: float, most_s: float
) -> None:
    source = DictSource(TENSORS)
    good, bad = Receiver("good"), Receiver("bad", fault)
    sender = form([good, bad], source)
    group, started_s = sender.trainer.model_update_group, time.monotonic()
    with pytest.raises(WorkersFailedError, match=told):
        sender.send_weights()
    assert least_s < time.monotonic() - started_s < most_s
    assert group.is_aborted
    # Other learner ranks gather with the sender: it must not stop half-way.
    assert source.num_yielded == len(TENSORS)
    with pytest.raises(TransferError, match="no transfer group"):
        sender.send_weights()
    # The push is repeated without the lost one.
    form([good], DictSource(TENSORS)).send_weights()
    assert good.version == 5


def test_a_receiver_that_dies_after_the_last_tensor_was_sent_fails_the_push_too() -> None:
    class DiesLate(Receiver):
        def receive_weights(self, fields: dict[str, Any]) -> None:
            super().receive_weights(fields)
            raise ConnectionError("killed")

    with pytest.raises(WorkersFailedError, match="late: ConnectionError: killed"):
        form([DiesLate("late")], DictSource(TENSORS)).send_weights()


def test_what_nccl_itself_reports_is_a_transfer_error() -> None:
    class Broken(PlayedGroup):
        def broadcast(self, name: str, tensor: torch.Tensor) -> None:
            raise RuntimeError("NCCL error: unhandled system error")

    receiver = Receiver("one")
    sender = form([receiver], DictSource(TENSORS), opened=lambda: Broken(1))
    receiver.group = sender.trainer.model_update_group
    started_s = time.monotonic()
    with pytest.raises(TransferError, match=r"the sender has aborted|NCCL error: unhandled system error"):
        sender.send_weights()
    assert time.monotonic() - started_s < 4


@pytest.mark.parametrize(("fault", "told"), [("refuses", "bad: PermissionError: not me"), ("absent", r"bad|1 s")])
def test_a_group_that_cannot_be_formed_says_why_within_the_deadline(fault: str, told: str) -> None:
    opened: list[PlayedGroup] = []

    def wait_for_all() -> PlayedGroup:
        time.sleep(1.5)  # as ncclCommInitRank does, which cannot be called off
        opened.append(PlayedGroup(2))
        return opened[0]

    started_s = time.monotonic()
    with pytest.raises(TransferError, match=told):
        form([Receiver("good"), Receiver("bad", fault)], DictSource(TENSORS), opened=wait_for_all)
    assert time.monotonic() - started_s < 6
    time.sleep(max(0.0, started_s + 2.0 - time.monotonic()))
    # What is opened too late is closed.
    assert [group.is_aborted for group in opened] == [True]


def test_learner_ranks_that_do_not_send_only_join_in_gathering() -> None:
    source = DictSource(TENSORS)
    form([], source, rank=1).send_weights()
    assert source.num_yielded == len(TENSORS)


def test_a_receiver_gives_up_when_the_weights_do_not_come() -> None:
    class Waits(NcclWeightTransferEngine):
        def __init__(self) -> None:  # no model, no device
            self._timeout_s, self.model_update_group = 0.2, PlayedGroup(1)

        def receive_weights(self, update_info: object) -> None:
            self.model_update_group.take(0)

    engine = Waits()
    group, started_s = engine.model_update_group, time.monotonic()
    with pytest.raises((TransferError, ConnectionError)):
        engine.update_weights({"names": [], "dtype_names": [], "shapes": []})
    assert group.is_aborted
    assert time.monotonic() - started_s < 2
    with pytest.raises(TransferError, match="belongs to no transfer group"):
        engine.update_weights({"names": [], "dtype_names": [], "shapes": []})


def test_a_watch_leaves_alone_what_ends_in_time() -> None:
    group, answer = PlayedGroup(1), Future[None]()
    with Watch(group, 10.0, answer) as watch:
        answer.set_result(None)
        time.sleep(0.05)
    assert not watch.has_aborted
    assert not group.is_aborted
