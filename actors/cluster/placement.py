"""Waiting for room in the cluster: who waits, for what, and which resource is short."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeVar

import ray

from rollout.errors import in_one_line

T = TypeVar("T")

# A resource of the Ray that a run starts for itself on one machine, which no other machine joins.
OWN_RAY = "sr_real_own_ray"
# The longest wait until an actor that was ended has given its room back.
_OWN_RAY_S = 120.0
# Longer than Ray takes where there is room.
_FIRST_LOOK_S = 15.0


class Resources(NamedTuple):
    """Amounts of a cluster's resources, by name."""

    total: Mapping[str, float]
    free: Mapping[str, float]


def resources_of_ray() -> Resources:
    """The resources of the Ray cluster that this process has joined."""
    return Resources(ray.cluster_resources(), ray.available_resources())


class NoRoomError(RuntimeError):
    """The cluster has no room for an actor; the message says what it asks for and what there is."""


async def await_room(
    placed: Awaitable[T],
    asked: Mapping[str, float],
    timeout_s: float,
    *,
    who: str,
    report: Callable[[str], None],
    first_look_s: float = _FIRST_LOOK_S,
    resources: Callable[[], Resources] = resources_of_ray,
) -> T:
    """Wait until Ray has placed `who`; report after a while that it has not, and which resource is short.

    Args:
        placed: ends when it has.
        asked: the resources that it needs on one node.
        timeout_s: how long nodes may take to come (`deadlines.place_s`). No nodes come to a Ray of the run's own.
        resources: reads what the cluster has.

    Raises:
        NoRoomError: it was not placed in time, or never can be.
    """
    total = resources().total
    if OWN_RAY in total:
        timeout_s = min(timeout_s, _OWN_RAY_S)
        if (never := what_lacks(asked, total, total)) is not None:
            raise NoRoomError(f"{who} finds no room: {never}")
    waiting = asyncio.ensure_future(placed)
    try:
        done, _ = await asyncio.wait([waiting], timeout=min(first_look_s, timeout_s))
        if not done:
            report(f"{who} waits for room in the cluster: {_lack_now(asked, resources)}")
            done, _ = await asyncio.wait([waiting], timeout=max(0.0, timeout_s - first_look_s))
        if not done:
            raise NoRoomError(f"{who} found no room within {timeout_s:g} s: {_lack_now(asked, resources)}")
        return await waiting
    finally:
        waiting.cancel()


def _lack_now(asked: Mapping[str, float], resources: Callable[[], Resources]) -> str:
    try:
        total, free = resources()
    except Exception as error:  # it is only for the message
        return f"it asks Ray for {_amounts(asked)} ({in_one_line(error)})"
    return what_lacks(asked, total, free) or (
        f"it asks Ray for {_amounts(asked)}, and no single node has that much free, or its process is still starting"
    )


def what_lacks(asked: Mapping[str, float], total: Mapping[str, float], free: Mapping[str, float]) -> str | None:
    """Which resources are short for an actor that needs `asked`; None if there is enough of each.

    >>> what_lacks({"CPU": 1, "GPU": 2}, {"CPU": 8.0, "GPU": 2.0}, {"CPU": 3.0, "GPU": 1.0})
    'it asks Ray for 1 CPU and 2 GPU; of 2 GPU in the cluster 1 are free'
    """
    short = [name for name, amount in asked.items() if free.get(name, 0.0) < amount]
    if not short:
        return None
    lacks = " and ".join(
        f"of {total.get(name, 0):g} {name} in the cluster {free.get(name, 0):g} are free" for name in short
    )
    return f"it asks Ray for {_amounts(asked)}; {lacks}"


def _amounts(asked: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in asked.items()) or "nothing"
