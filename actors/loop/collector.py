"""Python's cycle collector, in a process that holds many trajectories."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG_OBJECTS = 100_000


@contextmanager
def rare_collections() -> Iterator[None]:
    """While the block runs, cycles are looked for once in many thousands of new objects, not once in 700.

    Trajectories have no cycles and are freed when the last reference goes. The collector does not know that: with as
    many of them alive as 1,000 workers make, walking over them again and again costs half of the coordinator's time.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(_YOUNG_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
