"""Things made in a thread, in order, while the one before them is in use."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


@contextmanager
def made_ahead(
    make: Callable[[Item], Made],
    items: Iterable[Item],
    num_ahead: int,
    prepare_thread: Callable[[], None] | None = None,
) -> Iterator[Iterator[Made]]:
    """`map(make, items)`, whose next `num_ahead` results are made in one thread; the thread ends with the context.

    An exception of `make` is raised where its result would have come, after all results before it. `make` is called for
    one item at a time, and what it uses must not be used elsewhere meanwhile.

    Args:
        num_ahead: most results that are made or being made besides the one in use; 0: no thread.
        prepare_thread: is called once, in the thread, before all else.
    """
    if num_ahead == 0:
        yield map(make, items)
        return
    pool = ThreadPoolExecutor(1, "ahead", initializer=prepare_thread)
    try:
        yield _in_order(pool, make, items, num_ahead)
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: Executor, make: Callable[[Item], Made], items: Iterable[Item], num_ahead: int) -> Iterator[Made]:
    rest = iter(items)
    under_way = deque(pool.submit(make, item) for item in islice(rest, num_ahead))
    while under_way:
        made = under_way.popleft().result()
        under_way.extend(pool.submit(make, item) for item in islice(rest, 1))
        yield made
