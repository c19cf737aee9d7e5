"""Start processes that a signal to this process's group does not reach.

`timeout`, a shell's `kill -- -PGID` and many schedulers send SIGTERM to a whole group. The run answers it with a
checkpoint, for which it still needs Ray; Ray's own processes would answer it by ending at once.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_is_apart = False


@contextmanager
def groups_apart() -> Iterator[None]:
    """Each process that is forked inside the block leads a process group of its own."""
    global _is_apart
    _is_apart = True
    try:
        yield
    finally:
        _is_apart = False


def _in_child() -> None:
    if _is_apart:
        os.setpgid(0, 0)


# `subprocess` calls it for children that are given a `preexec_fn`, as Ray's are.
os.register_at_fork(after_in_child=_in_child)
