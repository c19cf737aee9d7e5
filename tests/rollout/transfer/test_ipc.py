"""CUDA IPC from the learner's side, without a GPU: what every rank does when an engine fails."""

from typing import Any

import pytest
from vllm.distributed.weight_transfer.base import WeightSource

from rollout.errors import TransferError
from rollout.transfer.ipc import IpcTrainerWeightTransferEngine

NUM_CHUNKS = 3


class Engines:
    """Notes what it is asked, and fails at one of the calls."""

    def __init__(self, fails_at: int | None) -> None:
        self.asked: list[str] = []
        self._fails_at = fails_at

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if len(self.asked) == self._fails_at:
            raise TransferError(f"rollout-0 failed at {what}")

    def start_weight_update(self) -> None:
        self._note("start")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._note("+".join(update_info["names"]))

    def finish_weight_update(self) -> None:
        self._note("finish")


class PlayedRank(IpcTrainerWeightTransferEngine):
    """A rank whose buffers are on no card, and that counts how often it waits for the other ranks."""

    def __init__(self, engines: Engines, is_sender: bool) -> None:
        self.client = engines
        self.is_sender = is_sender
        self.source = object()
        self.num_waits = 0

    def _send_packed(self, source: WeightSource) -> None:
        for number in range(NUM_CHUNKS):
            handles = {"GPU-a": (number,)}
            self._do_send(names=[f"w{number}"], dtype_names=["float32"], shapes=[[1]], ipc_handles=handles)
            self._post_send_sync()

    def _post_send_sync(self) -> None:  # type: ignore[override]
        self.num_waits += 1


def test_rank_0_alone_calls_the_engines() -> None:
    engines = Engines(fails_at=None)
    ranks = [PlayedRank(engines, is_sender=True), PlayedRank(engines, is_sender=False)]
    for rank in ranks:
        rank.send_weights()
    assert engines.asked == ["start", "w0", "w1", "w2", "finish"]
    assert [rank.num_waits for rank in ranks] == [NUM_CHUNKS + 1] * 2


@pytest.mark.parametrize("fails_at", [1, 3, 5])
def test_an_engine_that_fails_is_asked_no_more_and_its_error_comes_once_all_ranks_are_through(fails_at: int) -> None:
    engines = Engines(fails_at)
    rank = PlayedRank(engines, is_sender=True)
    with pytest.raises(TransferError, match="rollout-0 failed at"):
        rank.send_weights()
    assert len(engines.asked) == fails_at
    # As often as ranks that do not send: none of them is left waiting.
    assert rank.num_waits == NUM_CHUNKS + 1
    # The next attempt starts from the beginning.
    rank.client = Engines(fails_at=None)
    rank.send_weights()
    assert rank.client.asked[-1] == "finish"
