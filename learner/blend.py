"""A blend of tasks as one endless stream: which pair comes at which position is a function of the position alone.

The first n positions hold each task n times its share, to within one: the mixture is exact, not drawn.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np


class Blend:
    """Interleaves streams by weight. Each stream brings every member once an epoch, each epoch in its own order."""

    def __init__(self, members: Mapping[str, Sequence[int]], weights: Mapping[str, float], seed: int) -> None:
        """
        Args:
            members: by task, what it brings.
            weights: by task, its relative share; a task of weight 0 is left out.
            seed: of the order within each epoch of each task.

        Raises:
            ValueError: a task of some weight has no members.
        """
        self._tasks = [task for task, weight in weights.items() if weight > 0]
        if empty := [task for task in self._tasks if not members.get(task)]:
            raise ValueError(
                f"learner.sft.blend asks for {', '.join(empty)}, but no sample has a chain for that; give it the "
                f"weight 0, or data with it (there is {', '.join(sorted(filter(members.get, members))) or 'nothing'})"
            )
        self._members = [np.asarray(members[task]) for task in self._tasks]
        total = sum(weights[task] for task in self._tasks)
        self._shares = [weights[task] / total for task in self._tasks]
        self._seed = seed
        # Of each position so far: which task, and its how-manieth.
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
        """The task that is furthest behind its share comes next; of equals the first."""
        due = len(self._drawn) + 1
        behind = [due * share - count for share, count in zip(self._shares, self._counts, strict=True)]
        task = max(range(len(behind)), key=lambda index: round(behind[index], 9))
        self._drawn.append((task, self._counts[task]))
        self._counts[task] += 1

    def _shuffle(self, task: int, epoch: int) -> np.ndarray:
        return np.random.default_rng((self._seed, 0, epoch, task)).permutation(len(self._members[task]))
