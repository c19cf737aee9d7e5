"""Why a run cannot use some samples, reported by cause, with the worst sample of each and the remedy."""

from collections import Counter
from collections.abc import Callable, Mapping
from heapq import nlargest
from typing import NamedTuple

from spatial.sample import SpatialSample

_NUM_NAMED = 3


class Cause(NamedTuple):
    """Why samples cannot be used; they are counted by it."""

    words: str
    remedy: str
    """What to do; `{size}` and `{pixels}` are the values of settings that would fit all of them."""
    is_too_long: bool = False
    """Whether they are sound, but do not fit into the engines."""


class Fault(NamedTuple):
    """Why one sample cannot be used."""

    cause: Cause
    detail: str
    """The details of this sample."""
    size: int = 0
    """The value of the setting in the remedy that would fit it: the largest of all fits all."""
    pixels: int = 0
    """Another one, of which the smallest of all fits all."""


Check = Callable[[SpatialSample], Fault | None]


def lines_by_cause(faults: Mapping[str, Fault]) -> list[str]:
    """For each cause the number of samples, the worst of them by name, and what to do; the most frequent cause first.

    Args:
        faults: by sample.
    """
    causes = Counter(fault.cause for fault in faults.values())
    return [
        f"{num} × {cause.words}, such as {', '.join(worst_of(cause, faults))}: {remedy_for(cause, faults)}"
        for cause, num in causes.most_common()
    ]


def worst_of(cause: Cause, faults: Mapping[str, Fault]) -> tuple[str, ...]:
    """The names of the samples of a cause that are furthest from fitting, with their details."""
    own = ((name, fault) for name, fault in faults.items() if fault.cause == cause)
    return tuple(f"{name} ({fault.detail})" for name, fault in nlargest(_NUM_NAMED, own, key=lambda pair: pair[1].size))


def remedy_for(cause: Cause, faults: Mapping[str, Fault]) -> str:
    """What to do about all samples of a cause."""
    own = [fault for fault in faults.values() if fault.cause == cause]
    return cause.remedy.format(size=max(fault.size for fault in own), pixels=min(fault.pixels for fault in own))
