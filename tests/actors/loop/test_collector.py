import gc

import pytest

from actors.loop.collector import rare_collections


def fail_within(seen: list[tuple[int, int, int]]) -> None:
    with rare_collections():
        seen.append(gc.get_threshold())
        raise KeyError


def test_cycles_are_looked_for_rarely_and_as_before_afterwards_even_after_a_failure() -> None:
    default, seen = gc.get_threshold(), list[tuple[int, int, int]]()
    try:
        gc.set_threshold(123, 4, 5)
        with pytest.raises(KeyError):
            fail_within(seen)
        assert (seen, gc.get_threshold()) == ([(100_000, 4, 5)], (123, 4, 5))
    finally:
        gc.set_threshold(*default)
