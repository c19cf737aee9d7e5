"""Which prompt comes next: a pure function of the seed and a position, so a resume needs only the position."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from flow.trajectory import RolloutRequest
from spatial.dataset import Subset
from spatial.sample import ReasoningPath, SpatialSample


class PromptFeed:
    """The samples of one path in an endless, seeded order: every epoch a new permutation of all of them."""

    def __init__(self, samples: Sequence[SpatialSample], path: ReasoningPath, seed: int) -> None:
        self._samples = Subset(samples, lambda sample: path in sample.paths)
        self.path = path
        # The path is part of the seed, so that two paths go through the same samples in different orders.
        self._root = (seed, list(ReasoningPath).index(path))
        self._order = lru_cache(maxsize=2)(self._permutation)
        if not len(self._samples):
            raise ValueError(f"no sample may be asked through path '{path}'; set its groups_per_step to 0 or add data")

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> SpatialSample:
        epoch, place = divmod(index, len(self._samples))
        return self._samples[self._order(epoch)[place]]

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([*self._root, epoch]).permutation(len(self._samples))

    def requests(
        self, index: int, group_size: int, temperature: float, max_response_tokens: int, num_issued: int = 0
    ) -> tuple[RolloutRequest, ...]:
        """The requests of the group at `index`; the same index always gives the same seeds.

        Args:
            num_issued: how many times they were issued before. It changes the seeds, so that a response that broke its
                grader is not generated again.
        """
        sample = self[index]
        seeds = np.random.default_rng([*self._root, index, 1 + num_issued]).integers(2**31, size=group_size)
        return tuple(
            RolloutRequest(
                group_id=index,
                member=member,
                sample=sample,
                path=self.path,
                seed=int(seed),
                temperature=temperature,
                max_response_tokens=max_response_tokens,
            )
            for member, seed in enumerate(seeds)
        )
