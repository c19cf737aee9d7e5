"""Rooms: parts of nodes that Ray reserves together or not at all, each for the actors that live in it.

A room is a bundle of a placement group, and stays reserved when an actor in it ends, so that the next one finds the
same place. Actors ask Ray for no cards: their room has them, and `RoomGroup.seat` says which they are. So two actors
can share a card, and an actor can have all cards of its room while others have one each.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.cluster.cards import NO_CARDS, Cards, cards_of
from actors.cluster.placement import NoRoomError, await_room

# Told from inside a room: the names of its cards, and the CUDA_VISIBLE_DEVICES of the node.
_Told = tuple[list[str], str | None]


@dataclass(frozen=True)
class Seat:
    """Where an actor starts, and with which cards."""

    cards: Cards
    strategy: PlacementGroupSchedulingStrategy | None
    """None: Ray chooses."""

    def options(self, **variables: str) -> dict[str, Any]:
        """Ray's options of the actor, with more environment variables."""
        strategy = {} if self.strategy is None else {"scheduling_strategy": self.strategy}
        return {"num_gpus": 0, "runtime_env": self.cards.runtime_env(**variables), **strategy}


class RoomGroup:
    """Equal rooms that are reserved together or not at all."""

    def __init__(self, bundle: Mapping[str, float], number: int, mask_devices: bool) -> None:
        """Nothing is reserved yet.

        Args:
            bundle: what each room has.
            mask_devices: whether an actor sees no cards but its own.
        """
        self._bundle = dict(bundle)
        self._number = number
        self._mask_devices = mask_devices
        self._group: PlacementGroup | None = None
        self._reserved: asyncio.Task[None] | None = None

    async def seat(
        self, index: int, card: int | None, timeout_s: float, *, who: str, report: Callable[[str], None]
    ) -> Seat:
        """A seat in one of the rooms, once all are reserved; after a node was lost, once Ray has found another.

        Args:
            card: which of the room's cards; None: all.
            who: for messages.
            report: called once with a message when the rooms are long in coming.

        Raises:
            NoRoomError: they were not reserved within `timeout_s` seconds, or never can be.
        """
        if not self._bundle:
            return Seat(NO_CARDS, None)
        await self._reserve(timeout_s, who, report)
        assert self._group is not None
        strategy = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=index)
        if "GPU" not in self._bundle:
            return Seat(NO_CARDS, strategy)
        told = _tell_cards.options(num_gpus=self._bundle["GPU"], scheduling_strategy=strategy).remote()
        names, of_node = await await_room(told, self._bundle, timeout_s, who=who, report=report)
        if not names:
            raise NoRoomError(
                f"{who}: its room has {self._bundle['GPU']:g} GPU, but no process there may see one "
                f"(CUDA_VISIBLE_DEVICES={of_node!r} on the node); start Ray where its cards are visible"
            )
        return Seat(cards_of(names, of_node, self._mask_devices, card), strategy)

    async def _reserve(self, timeout_s: float, who: str, report: Callable[[str], None]) -> None:
        if self._reserved is None or (self._reserved.done() and self._reserved.exception() is not None):
            self.release()
            self._reserved = asyncio.create_task(self._await_rooms(timeout_s, who, report))
        await asyncio.shield(self._reserved)

    async def _await_rooms(self, timeout_s: float, who: str, report: Callable[[str], None]) -> None:
        self._group = placement_group([self._bundle] * self._number)
        asked = {name: self._number * amount for name, amount in self._bundle.items()}
        whose = who if self._number == 1 else f"{who} with all {self._number} rooms that are reserved together"
        await await_room(self._group.ready(), asked, timeout_s, who=whose, report=report)

    def release(self) -> None:
        """Give the rooms back; whoever is still in them is ended."""
        if self._reserved is not None:
            self._reserved.cancel()
            self._reserved = None
        if self._group is not None:
            remove_placement_group(self._group)
            self._group = None


# Ray would hide the node's own variable.
@ray.remote(num_cpus=0, runtime_env={"env_vars": {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}})
def _tell_cards() -> _Told:
    names = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    return list(map(str, names)), os.environ.get("CUDA_VISIBLE_DEVICES")
