"""Which rows the cold start trains on at which step: a function of the step alone, and so is resuming."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from learner.batch import SftRow
from learner.config import SftConfig
from spatial.sample import SpatialSample
from vlm.prompt import PromptEncoder


class SftBatches:
    """An endless stream of (sample, path) pairs: every pair once an epoch, each epoch in its own random order.

    Within a window of a few batches rows are sorted by length, so that the rows of a batch are padded little; which of
    the window's batches comes first is random.
    """

    def __init__(self, samples: Sequence[SpatialSample], encoder: PromptEncoder, config: SftConfig, seed: int) -> None:
        """
        Raises:
            ValueError: no sample has a chain of thought.
        """
        self._pairs = [(sample, path) for sample in samples for path in sample.paths if path in sample.chains]
        if not self._pairs:
            raise ValueError(f"none of {len(samples)} samples has a chain of thought to learn from")
        self._encoder = encoder
        self._config = config
        self._seed = seed
        self._row = lru_cache(maxsize=65536)(self._encode)
        self._order = lru_cache(maxsize=2)(self._shuffle)
        self._window = lru_cache(maxsize=1)(self._cut_window)

    def __len__(self) -> int:
        """Pairs in an epoch (the batches have no end)."""
        return len(self._pairs)

    def __getitem__(self, step: int) -> list[SftRow]:
        """The rows of optimiser step `step`, counted from 0."""
        window, place = divmod(step, self._config.sort_window_batches)
        return [self._row(pair) for pair in self._window(window)[place]]

    def _cut_window(self, window: int) -> list[list[int]]:
        size = self._config.sort_window_batches * self._config.rows_per_batch
        pairs = [self._pair_at(position) for position in range(window * size, (window + 1) * size)]
        if self._config.sort_window_batches > 1:
            pairs.sort(key=lambda pair: len(self._row(pair).prompt_token_ids) + len(self._row(pair).response_token_ids))
        rows = self._config.rows_per_batch
        batches = [pairs[start : start + rows] for start in range(0, size, rows)]
        order = np.random.default_rng((self._seed, 1, window)).permutation(len(batches))
        return [batches[i] for i in order]

    def _pair_at(self, position: int) -> int:
        epoch, place = divmod(position, len(self._pairs))
        return int(self._order(epoch)[place])

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self._seed, 0, epoch)).permutation(len(self._pairs))

    def _encode(self, pair: int) -> SftRow:
        sample, path = self._pairs[pair]
        return SftRow.from_chain(sample, path, self._encoder)
