"""Which GPUs a process sees, and which of them are its own."""

import pytest

from actors.cluster.cards import NO_CARDS, Cards, cards_of


def test_a_process_without_cards_sees_none_whatever_ray_would_do() -> None:
    variables = NO_CARDS.runtime_env(OMP_NUM_THREADS="2")["env_vars"]
    assert variables == {
        "CUDA_VISIBLE_DEVICES": "",
        "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1",
        "OMP_NUM_THREADS": "2",
    }


@pytest.mark.parametrize(
    ("of_node", "mask", "card", "cards"),
    [
        (None, True, None, Cards("2,10", (0, 1), ("2", "10"))),
        (None, True, 1, Cards("10", (0,), ("10",))),
        (None, False, None, Cards(None, (2, 10), ("2", "10"))),
        (None, False, 1, Cards(None, (10,), ("10",))),
        # A job that was given some of the node's cards, in an order of its own: positions count, not numbers.
        ("7,10,2", True, None, Cards("10,2", (0, 1), ("10", "2"))),
        ("7,10,2", False, None, Cards("7,10,2", (1, 2), ("10", "2"))),
        # All that the node has: seeing all is not the same as seeing one's own alone.
        ("10,2", False, 0, Cards("10,2", (0,), ("10",))),
    ],
)
def test_its_own_cards_are_those_that_its_room_has(
    of_node: str | None, mask: bool, card: int | None, cards: Cards
) -> None:
    # Ray tells them in any order.
    assert cards_of(["10", "2"], of_node, mask, card) == cards


def test_where_all_cards_are_seen_the_nodes_own_variable_is_left_alone() -> None:
    assert "CUDA_VISIBLE_DEVICES" not in Cards(None, (3,), ("3",)).runtime_env()["env_vars"]
