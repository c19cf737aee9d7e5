"""A blend of tasks as one endless stream, in which the position alone decides which pair comes.

Among the first n positions each task has n times its share, to within one: the mixture is exact, not drawn.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np


class Blend:
    """Interleaves streams by weight. Each stream has every member once an epoch, each epoch in its own order."""

    def __init__(self, members: Mapping[str, Sequence[int]], weights: Mapping[str, float], seed: int) -> None:
        """
        Args:
            members: of each task.
            weights: relative share of each task; a task of weight 0 is left out.
            seed: for the order within each epoch of each task.

        Raises:
            ValueError: a task with a weight above 0 has no members.
        """
        self._tasks = [task for task, weight in weights.items() if weight > 0]
        if empty := [task for task in self._tasks if not members.get(task)]:
            there = ", ".join(sorted(filter(members.get, members))) or "nothing"
            raise ValueError(
                f"learner.sft.blend asks for {', '.join(empty)}, but no sample has a chain for it; set its weight "
                f"to 0, or add data with such chains (there are chains for {there})"
            )
        self._members = [np.asarray(members[task]) for task in self._tasks]
        total = sum(weights[task] for task in self._tasks)
        self._shares = [weights[task] / total for task in self._tasks]
        self._seed = seed
        # For each position so far: the task, and the number of its earlier positions.
        self._drawn: list[tuple[int, int]] = []
        self._counts = [0] * len(self._tasks)
        self._order = lru_cache(maxsize=2 * len(self._tasks))(self._shuffle)

    def __len__(self) -> int:
        """Members of all tasks that have a weight (the stream has no end)."""
        return sum(map(len, self._members))

    def __getitem__(self, position: int) -> int:
        """The member at a position, counted from 0."""
        while len(self._drawn) <= position:
            self._draw()
        task, number = self._drawn[position]
        epoch, place = divmod(number, len(self._members[task]))
        return int(self._members[task][self._order(task, epoch)[place]])

    def _draw(self) -> None:
        """The task that is furthest behind its share comes next; if several are, the first of them."""
        due = len(self._drawn) + 1
        behind = [due * share - count for share, count in zip(self._shares, self._counts, strict=True)]
        task = max(range(len(behind)), key=lambda index: round(behind[index], 9))
        self._drawn.append((task, self._counts[task]))
        self._counts[task] += 1

    def _shuffle(self, task: int, epoch: int) -> np.ndarray:
        return np.random.default_rng((self._seed, 0, epoch, task)).permutation(len(self._members[task]))
