"""Where each learner rank and each engine of a run lives, by the layout of its config."""

from collections.abc import Callable
from dataclasses import dataclass

from actors.cluster.placement import NoRoomError
from actors.cluster.rooms import RoomGroup, Seat
from actors.config import SessionConfig


@dataclass(frozen=True)
class Place:
    """The place of one learner rank or one engine. Whoever is started again comes back to it."""

    rooms: RoomGroup
    room: int
    card: int | None = None
    """Which of the room's cards; None: all."""
    is_alone: bool = False
    """Whether the rooms are nobody else's, and are given back with the place."""

    async def seat(self, timeout_s: float, *, who: str, report: Callable[[str], None]) -> Seat:
        """See `RoomGroup.seat`."""
        return await self.rooms.seat(self.room, self.card, timeout_s, who=who, report=report)

    def leave(self) -> None:
        """Its owner has ended."""
        if self.is_alone:
            self.rooms.release()


class Places:
    """The places of a run. Nothing is reserved before the first seat is asked for.

    split     the learner's ranks have a room each, reserved together; each engine has a room of its own, so that a run
              begins with the engines that find room, and a cluster that scales itself adds and removes a node with one
    shared    an engine and the ranks on its cards have one room; all rooms are reserved together
    """

    def __init__(self, config: SessionConfig) -> None:
        mask_devices = config.cluster.mask_devices
        self._is_shared = config.cluster.layout.type == "shared"
        of_ranks, of_engines = config.rooms[0], config.rooms[-1]
        self._of_ranks = RoomGroup(of_ranks.bundle, of_ranks.number, mask_devices)
        self._num_rooms = of_ranks.number
        self._ranks_per_room = config.learner.num_ranks // of_ranks.number
        self._new_engine_room = lambda: RoomGroup(of_engines.bundle, 1, mask_devices)

    def of_rank(self, rank: int) -> Place:
        """Of a learner rank."""
        if not self._is_shared:
            return Place(self._of_ranks, rank)
        room, card = divmod(rank, self._ranks_per_room)
        return Place(self._of_ranks, room, card)

    def of_engine(self, number: int) -> Place:
        """Of the engine at this place of the pool.

        Raises:
            NoRoomError: every card has its engine already.
        """
        if not self._is_shared:
            return Place(self._new_engine_room(), 0, is_alone=True)
        if number >= self._num_rooms:
            raise NoRoomError(
                f"rollout-{number} finds no room: in a shared layout every card has one engine, and there are cards "
                f"for {self._num_rooms}"
            )
        return Place(self._of_ranks, number)
