"""Which rows the cold start trains on at which step: a function of the step alone, and so is resuming."""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from learner.batch import SftRow
from learner.blend import Blend
from learner.config import SftConfig
from spatial.sample import SpatialSample
from spatial.tasks import task_of
from vlm.prompt import PromptEncoder


class SftBatches:
    """An endless stream of (sample, path) pairs: blended by task, or every pair once an epoch in random order.

    Within a window of a few batches rows are sorted by length, so that the rows of a batch are padded little; which of
    the window's batches comes first is random.
    """

    def __init__(self, samples: Sequence[SpatialSample], encoder: PromptEncoder, config: SftConfig, seed: int) -> None:
        """
        Raises:
            ValueError: no sample has a chain of thought, or none for a task of the blend, or none has objects to point
                at.
        """
        self._pairs = [(sample, path) for sample in samples for path in sample.paths if path in sample.chains]
        if not self._pairs:
            raise ValueError(f"none of {len(samples)} samples has a chain of thought to learn from")
        if config.pointer is not None and not any(sample.objects for sample, _ in self._pairs):
            raise ValueError(
                "sft.pointer ties names to places, but no sample tells which objects are in view; give them "
                "(data.scenes.name_objects=true makes scenes do so), or set sft.pointer=null"
            )
        self._encoder = encoder
        self._config = config
        self._seed = seed
        by_task: dict[str, list[int]] = defaultdict(list)
        for index, (sample, path) in enumerate(self._pairs):
            by_task["all" if config.blend is None else task_of(sample, path)].append(index)
        weights = {"all": 1.0} if config.blend is None else {str(task): share for task, share in config.blend.items()}
        self._stream = Blend(by_task, weights, seed)
        self._row = lru_cache(maxsize=65536)(self._encode)
        self._window = lru_cache(maxsize=1)(self._cut_window)

    def __len__(self) -> int:
        """Pairs that are trained on (the batches have no end)."""
        return len(self._stream)

    def __getitem__(self, step: int) -> list[SftRow]:
        """The rows of optimiser step `step`, counted from 0."""
        window, place = divmod(step, self._config.sort_window_batches)
        return [self._row(pair) for pair in self._window(window)[place]]

    def _cut_window(self, window: int) -> list[list[int]]:
        size = self._config.sort_window_batches * self._config.rows_per_batch
        pairs = [self._stream[position] for position in range(window * size, (window + 1) * size)]
        if self._config.sort_window_batches > 1:
            pairs.sort(key=lambda pair: len(self._row(pair).prompt_token_ids) + len(self._row(pair).response_token_ids))
        rows = self._config.rows_per_batch
        batches = [pairs[start : start + rows] for start in range(0, size, rows)]
        order = np.random.default_rng((self._seed, 1, window)).permutation(len(batches))
        return [batches[i] for i in order]

    def _encode(self, pair: int) -> SftRow:
        sample, path = self._pairs[pair]
        return SftRow.from_chain(sample, path, self._encoder)
