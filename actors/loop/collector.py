"""Python's cycle collector, made rare in a process that holds many trajectories."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG_OBJECTS = 100_000


@contextmanager
def rare_collections() -> Iterator[None]:
    """While the block runs, the collector looks for cycles after 100,000 new objects instead of 700.

    Trajectories have no cycles and are freed with their last reference. The collector does not know that: with the
    trajectories of 1,000 workers alive, walking over them again and again takes half of the coordinator's time.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(_YOUNG_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
