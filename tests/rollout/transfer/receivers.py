"""Receivers of a push that need no engine."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from rollout.transfer.gloo_group import in_background


class Steps(Protocol):
    """What an engine does in a push, as plain methods."""

    name: str
    num_ranks: int

    def join_transfer(self, info: dict[str, Any]) -> None: ...
    def start_update(self, unchanged: Mapping[str, int], hashed: Sequence[str]) -> None: ...
    def receive_weights(self, info: dict[str, Any]) -> None: ...
    def finish_update(self, version: int) -> None: ...


class ThreadReceiver:
    """A `WeightReceiver` that does each step on a thread of its own."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.name, self.num_ranks = steps.name, steps.num_ranks

    def join_transfer(self, init_info: dict[str, Any]) -> Future[None]:
        return in_background(self._steps.join_transfer, init_info)

    def leave_transfer(self) -> Future[None]:
        raise AssertionError("no test asks for this")

    def start_update(self, unchanged: Mapping[str, int], hashed: Sequence[str]) -> Future[None]:
        return in_background(self._steps.start_update, unchanged, hashed)

    def receive_weights(self, update_info: dict[str, Any]) -> Future[None]:
        return in_background(self._steps.receive_weights, update_info)

    def finish_update(self, version: int) -> Future[None]:
        return in_background(self._steps.finish_update, version)
