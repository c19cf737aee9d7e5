"""Which rows the cold start trains on at which step: a function of the step alone, and so is resuming."""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from learner.batch import SftRow, row_length
from learner.blend import Blend
from learner.config import SftConfig
from spatial.sample import Path, SpatialSample
from spatial.tasks import Task, task_of
from vlm.prompt import PromptEncoder


class _Lesson(NamedTuple):
    sample: SpatialSample
    path: Path | None
    """Whose chain is learned; None: the counterfactual one."""

    @property
    def task(self) -> Task:
        return "counterfactual" if self.path is None else task_of(self.sample, self.path)


class SftBatches:
    """An endless stream of chains: blended by task, or every chain once an epoch in random order.

    Within a window of a few batches rows are sorted by length, so that the rows of a batch are padded little; which of
    the window's batches comes first is random.
    """

    def __init__(self, samples: Sequence[SpatialSample], encoder: PromptEncoder, config: SftConfig, seed: int) -> None:
        """
        Raises:
            ValueError: no sample has a chain of thought, or none for a task of the blend, or none has objects to point
                at.
        """
        self._lessons = [_Lesson(sample, path) for sample in samples for path in sample.paths if path in sample.chains]
        self._lessons += [_Lesson(sample, None) for sample in samples if sample.counterfactual_chain is not None]
        if not self._lessons:
            raise ValueError(f"none of {len(samples)} samples has a chain of thought to learn from")
        if config.pointer is not None and not any(lesson.sample.objects for lesson in self._lessons):
            raise ValueError(
                "sft.pointer ties names to places, but no sample tells which objects are in view; give them "
                "(data.scenes.name_objects=true makes scenes do so), or set sft.pointer=null"
            )
        self._encoder = encoder
        self._config = config
        self._seed = seed
        by_task: dict[str, list[int]] = defaultdict(list)
        for index, lesson in enumerate(self._lessons):
            by_task["all" if config.blend is None else lesson.task].append(index)
        weights = {"all": 1.0} if config.blend is None else {str(task): share for task, share in config.blend.items()}
        self._stream = Blend(by_task, weights, seed)
        self._row = lru_cache(maxsize=65536)(self._encode)
        self._window = lru_cache(maxsize=1)(self._cut_window)

    def __len__(self) -> int:
        """Chains that are trained on (the batches have no end)."""
        return len(self._stream)

    def __getitem__(self, step: int) -> list[SftRow]:
        """The rows of optimiser step `step`, counted from 0."""
        window, place = divmod(step, self._config.sort_window_batches)
        return [self._row(index) for index in self._window(window)[place]]

    def _cut_window(self, window: int) -> list[list[int]]:
        size = self._config.sort_window_batches * self._config.rows_per_batch
        chosen = [self._stream[position] for position in range(window * size, (window + 1) * size)]
        if self._config.sort_window_batches > 1:
            chosen.sort(key=lambda index: row_length(self._row(index)))
        rows = self._config.rows_per_batch
        batches = [chosen[start : start + rows] for start in range(0, size, rows)]
        order = np.random.default_rng((self._seed, 1, window)).permutation(len(batches))
        return [batches[i] for i in order]

    def _encode(self, index: int) -> SftRow:
        sample, path = self._lessons[index]
        if path is None:
            return SftRow.from_counterfactual(sample, self._encoder)
        return SftRow.from_chain(sample, path, self._encoder)
