"""Which GPUs a process sees, and which of them are its own."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cards:
    """The GPUs of one process.

    Example: a process on cards 2 and 3 of a node with four sees `visible="2,3"`, and its own are `(0, 1)` of these. If
    it sees all (`visible=None`), its own are `(2, 3)`.
    """

    visible: str | None
    """What its CUDA_VISIBLE_DEVICES is; None: as the node has it, which is usually all."""
    own: tuple[int, ...]
    """Those that it computes on, by their position among the visible ones."""
    names: tuple[str, ...]
    """The same, as CUDA_VISIBLE_DEVICES and the driver call them: numbers, or UUIDs."""

    def runtime_env(self, **variables: str) -> dict[str, Any]:
        """Ray's `runtime_env` of an actor with these cards, with more environment variables."""
        visible = {} if self.visible is None else {"CUDA_VISIBLE_DEVICES": self.visible}
        # Ray would set the cards that the actor asked it for, and that is none.
        return {"env_vars": visible | {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"} | variables}


NO_CARDS = Cards("", (), ())
"""A process that computes on the CPU sees none."""


def hide_cards() -> None:
    """Let this process see no GPU, before it has used one; the processes that Ray starts for it are not touched."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def cards_of(room: Sequence[str], of_node: str | None, mask: bool, card: int | None = None) -> Cards:
    """The cards of a process in a room.

    Args:
        room: names of the room's cards, as CUDA_VISIBLE_DEVICES has them: numbers, or UUIDs.
        of_node: CUDA_VISIBLE_DEVICES of the node; None where it is not set.
        mask: whether the process sees no cards but its own.
        card: which of the room's cards is its own; None: all.

    >>> cards_of(["3", "2"], None, mask=True, card=1), cards_of(["GPU-b"], "GPU-a,GPU-b", mask=False)
    (Cards(visible='3', own=(0,), names=('3',)), Cards(visible='GPU-a,GPU-b', own=(1,), names=('GPU-b',)))
    """
    order = None if of_node is None else of_node.split(",")
    own = sorted(room, key=int if order is None else order.index)
    if card is not None:
        own = [own[card]]
    if mask:
        return Cards(",".join(own), tuple(range(len(own))), tuple(own))
    positions = tuple(int(name) if order is None else order.index(name) for name in own)
    return Cards(of_node, positions, tuple(own))
