"""Which rows the cold start trains on at each step. The step alone decides, so a resumed run sees the same rows."""

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
from cachetools import LRUCache, cached

from learner.batch import SftRow
from learner.blend import Blend
from learner.config import SftConfig
from spatial.sample import ReasoningPath, SpatialSample
from spatial.tasks import task_of
from vlm.prompt import PromptEncoder

_PATHS = tuple(ReasoningPath)
_ALL = "all"
# Of rows that are kept encoded: each token takes 8 bytes or more, so these some 100 MiB.
_MAX_KEPT_TOKENS = 2**23


def name_of_task(sample: SpatialSample, path: ReasoningPath, config: SftConfig) -> str:
    """The task of the blend that a chain belongs to; without a blend there is only one."""
    return _ALL if config.blend is None else task_of(sample, path)


def _weights(config: SftConfig) -> dict[str, float]:
    return {_ALL: 1.0} if config.blend is None else {str(task): share for task, share in config.blend.items()}


def check_chains(by_task: Mapping[str, Sequence[int]], has_objects: bool, config: SftConfig) -> None:
    """Check that there are the chains that the config asks for.

    Args:
        by_task: chains of each task, by the names of `name_of_task`.
        has_objects: whether any of their samples lists the objects in view.

    Raises:
        ValueError: there is no chain, none for a task of the blend, or no object to point at.
    """
    if not any(by_task.values()):
        raise ValueError(
            "no sample has a chain of thought to learn from (`chains`); add some (`sr-real data build` writes them), "
            "or start reinforcement learning from a model that knows the paths (`sr-real train --from MODEL`)"
        )
    if config.pointer is not None and not has_objects:
        raise ValueError(
            "sft.pointer needs the objects in view, but no sample lists them; add them (for scenes: "
            "data.scenes.name_objects=true), or set sft.pointer=null"
        )
    Blend(by_task, _weights(config), seed=0)


def _num_tokens(row: SftRow) -> int:
    return len(row.prompt_token_ids) + len(row.response_token_ids)


class SftBatches:
    """An endless stream of (sample, path) pairs: blended by task, or every pair once an epoch in random order.

    Within a window of a few batches rows are sorted by length, so that a batch needs little padding; the order of the
    window's batches is random.
    """

    def __init__(self, samples: Sequence[SpatialSample], encoder: PromptEncoder, config: SftConfig, seed: int) -> None:
        """
        Raises:
            ValueError: no sample has a chain of thought, or none for a task of the blend, or none has objects to point
                at.
        """
        self._samples = samples
        # A pair is the position of its sample and of its path: the samples themselves may not fit into memory.
        self._pairs = array("Q")
        by_task: dict[str, array[int]] = defaultdict(partial(array, "Q"))
        has_objects = False
        for place, sample in enumerate(samples):
            for path in sample.paths:
                if path in sample.chains:
                    by_task[name_of_task(sample, path, config)].append(len(self._pairs))
                    self._pairs.append(place * len(_PATHS) + _PATHS.index(path))
                    has_objects = has_objects or bool(sample.objects)
        check_chains(by_task, has_objects, config)
        self._encoder = encoder
        self._config = config
        self._seed = seed
        self._stream = Blend(by_task, _weights(config), seed)
        self._row = cached(LRUCache(_MAX_KEPT_TOKENS, getsizeof=_num_tokens))(self._encode)
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
            pairs.sort(key=lambda pair: _num_tokens(self._row(pair)))
        rows = self._config.rows_per_batch
        batches = [pairs[start : start + rows] for start in range(0, size, rows)]
        order = np.random.default_rng((self._seed, 1, window)).permutation(len(batches))
        return [batches[i] for i in order]

    def _encode(self, pair: int) -> SftRow:
        place, path = divmod(self._pairs[pair], len(_PATHS))
        return SftRow.from_chain(self._samples[place], _PATHS[path], self._encoder)
