"""Building data sets of scenes: images in an image store, questions as lines of JSON, both determined by the seed."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from spatial.images import ImageStore
from spatial.sample import ReasoningPath, SpatialSample
from spatial.scenes.asking import SceneAsker
from spatial.scenes.config import Family, SceneConfig
from spatial.scenes.layout import draw_scene, scene_truth
from spatial.whole_files import write_whole

SPLITS = ("train", "validation", "test")
_SCENES_A_TASK = 16

Progress = Callable[[int, int], None]
"""Called after each scene with the number of scenes done and the total."""


def build_dataset(
    config: SceneConfig,
    root: Path,
    num_scenes: Mapping[str, int],
    seed: int,
    num_workers: int = 1,
    on_progress: Progress | None = None,
) -> dict[str, Path]:
    """Write `root/images` and one `root/<split>.jsonl` of `SpatialSample` for each split; returns the files by split.

    The bytes depend on `config`, `num_scenes` and `seed` only, not on `num_workers`. Each scene is drawn from its own
    (seed, split, family, index), so that splits share no scene, and a larger split begins with the scenes of a smaller.

    Raises:
        ValueError: a split has an unknown name or a negative number of scenes.
        NoSceneError: the ranges of the config leave no room for a scene.
    """
    for split, number in num_scenes.items():
        if split not in SPLITS or number < 0:
            raise ValueError(f"num_scenes['{split}']={number}: splits are {', '.join(SPLITS)}, with 0 or more scenes")
    root.mkdir(parents=True, exist_ok=True)
    numbers, total = count(1), sum(num_scenes.values())

    def lines(split: str) -> Iterator[str]:
        build = partial(build_scene, config, ImageStore(root / "images"), seed, split)
        for samples in _map(build, num_scenes[split], num_workers):
            yield from (sample.model_dump_json() + "\n" for sample in samples)
            done = next(numbers)
            if on_progress is not None:
                on_progress(done, total)

    files = {split: root / f"{split}.jsonl" for split in num_scenes}
    for split, file in files.items():
        write_whole(file, lines(split))
    return files


def build_scene(config: SceneConfig, store: ImageStore, seed: int, split: str, index: int) -> list[SpatialSample]:
    """Draw one scene, store its image and ask about it."""
    family: Family = config.families[index % len(config.families)]
    # Spelled out, since Python's own hash of a string differs from process to process.
    rng = np.random.default_rng([seed, SPLITS.index(split), *family.encode(), index])
    scene, picture = draw_scene(config, family, rng)
    asker = SceneAsker(
        config,
        name=f"{family}-{split}-{index}",
        family=family,
        image=store.put(picture.image_hw3),
        depths=(store.put_depth(picture.depth_hw),) if config.store_depth else (),
        camera=scene.view.camera,
        scene=scene_truth(scene, picture),
    )
    samples = asker.ask_reasoned(rng)
    # From random numbers of their own, so that they change no question that is asked through reasoning.
    direct_rng = np.random.default_rng(
        [seed, SPLITS.index(split), *family.encode(), index, *ReasoningPath.DIRECT.encode()]
    )
    return [*samples, *asker.ask_direct(direct_rng, first_slot=len(samples))]


def _map(build: Callable[[int], list[SpatialSample]], number: int, num_workers: int) -> Iterator[list[SpatialSample]]:
    if num_workers <= 1:
        yield from map(build, range(number))
        return
    # Spawned, since a fork would copy the locks of the caller's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        yield from pool.map(build, range(number), chunksize=_SCENES_A_TASK)
