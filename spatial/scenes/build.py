"""Building data sets of scenes: pictures in an image store, questions as lines of JSON, the same for the same seed."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from spatial.images import ImageStore
from spatial.sample import Camera, DepthRef, ImageRef, Mark, ReasoningPath, Region, SeenObject, SpatialSample
from spatial.scenes.chains import spoil, write_chain
from spatial.scenes.config import PERCEPTION_KINDS, REGION_PERCEPTION_KINDS, Family, SceneConfig
from spatial.scenes.layout import draw_scene, object_truths
from spatial.scenes.perception import pick_perceived, write_perception
from spatial.scenes.questions import Question, Subject, pick_subjects, write_question
from spatial.scenes.scene import ObjectTruth
from spatial.whole_files import write_whole

SPLITS = ("train", "validation", "test")
_MAX_TRIES = 6
_SCENES_A_TASK = 16

Progress = Callable[[int, int], None]
"""Called with the number of scenes done and the number of all, after each scene."""


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
    (seed, split, family, index), so that splits share none, and a larger split begins with the scenes of a smaller one.

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
    """Draw one scene, store its picture and ask about it."""
    family: Family = config.families[index % len(config.families)]
    # Spelled out, since Python's own hash of a string differs from process to process.
    rng = np.random.default_rng([seed, SPLITS.index(split), *family.encode(), index])
    scene, picture = draw_scene(config, family, rng)
    objects, image = object_truths(scene, picture), store.put(picture.image_hw3)
    name = f"{family}-{split}-{index}"
    depths = (store.put_depth(picture.depth_hw),) if config.store_depth else ()
    asker = _Asker(config, name, family, image, depths, scene.view.camera, objects, rng)
    samples = asker.ask_reasoned()
    # From a stream of their own: what is asked through reasoning does not change what is asked to be answered at once.
    direct_rng = np.random.default_rng(
        [seed, SPLITS.index(split), *family.encode(), index, *ReasoningPath.DIRECT.encode()]
    )
    return [*samples, *replace(asker, rng=direct_rng).ask_direct(first_slot=len(samples))]


def _map(build: Callable[[int], list[SpatialSample]], number: int, num_workers: int) -> Iterator[list[SpatialSample]]:
    if num_workers <= 1:
        yield from map(build, range(number))
        return
    # Fresh processes: a fork would copy the threads' locks of whatever the caller has loaded.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        yield from pool.map(build, range(number), chunksize=_SCENES_A_TASK)


@dataclass(frozen=True)
class _Asker:
    """Turns one scene into samples."""

    config: SceneConfig
    name: str
    family: Family
    image: ImageRef
    depths: tuple[DepthRef, ...]
    camera: Camera
    objects: tuple[ObjectTruth, ...]
    rng: np.random.Generator

    def ask_reasoned(self) -> list[SpatialSample]:
        """Questions for the two paths that reason, no kind twice on one path."""
        wanted = self.config.questions_per_scene
        # The fraction is drawn, so that the share holds over many scenes whatever the number of questions.
        num_dtr = int(wanted * self.config.dtr_share + self.rng.random())
        samples: list[SpatialSample] = []
        for path, number, weights in (
            (ReasoningPath.LOR, wanted - num_dtr, self.config.lor_weights),
            (ReasoningPath.DTR, num_dtr, self.config.dtr_weights),
        ):
            asked = 0
            for kind in self._kinds_in_turn(weights):
                if asked == number:
                    break
                sample = self._ask(kind, path, slot=len(samples))
                if sample is not None:
                    samples.append(sample)
                    asked += 1
        return samples

    def ask_direct(self, first_slot: int) -> list[SpatialSample]:
        """Questions that are answered at once: kinds drawn by weight, no question twice."""
        wanted, weights = self.config.direct_per_scene, self.config.direct_weights
        if wanted == 0:
            return []
        share = np.array(list(weights.values()))
        samples: dict[str, SpatialSample] = {}
        for kind in self.rng.choice(list(weights), _MAX_TRIES * wanted, p=share / share.sum()):
            sample = self._ask(str(kind), ReasoningPath.DIRECT, slot=first_slot + len(samples))
            if sample is not None:
                # A region may get another mark the next time, and is the same region.
                samples.setdefault(f"{kind} {[r.box_xyxy_px for r in sample.regions] or sample.question}", sample)
            if len(samples) == wanted:
                break
        return list(samples.values())

    def _kinds_in_turn(self, weights: Mapping[str, float]) -> list[str]:
        """Kinds in random order, heavier ones earlier."""
        kinds = [kind for kind, weight in weights.items() if weight > 0]
        if not kinds:
            return []
        share = np.array([weights[kind] for kind in kinds])
        return [str(kind) for kind in self.rng.choice(kinds, len(kinds), replace=False, p=share / share.sum())]

    def _ask(self, kind: str, path: ReasoningPath, slot: int) -> SpatialSample | None:
        """A question of this kind with a chain for each of its paths; None when the scene has no clear one."""
        is_perceived = kind in PERCEPTION_KINDS
        for _ in range(_MAX_TRIES):
            chosen = (pick_perceived if is_perceived else pick_subjects)(kind, self.objects, self.rng)
            if chosen is None:
                return None
            is_marked = path is ReasoningPath.DTR or kind in REGION_PERCEPTION_KINDS
            marks = self._draw_marks(len(chosen)) if is_marked else ()
            names = [f"{mark} point" for mark in marks] if marks else [truth.name for truth in chosen]
            subjects = tuple(Subject(name, truth) for name, truth in zip(names, chosen, strict=True))
            question = (
                write_perception(kind, subjects, self.config.image_size_px)
                if is_perceived
                else write_question(kind, subjects, self.rng)
            )
            paths = (
                (ReasoningPath.LOR, ReasoningPath.DTR)
                if path is ReasoningPath.DTR and self.config.both_paths
                else (path,)
            )
            chains = {each: chain for each in paths if (chain := write_chain(question, each)) is not None}
            if len(chains) == len(paths):
                return self._sample(question, marks, chains, slot)
        return None

    def _spoil(self, path: ReasoningPath, chain: str, question: Question) -> str:
        """The chain, or, with the configured share, one that ends in a wrong answer."""
        is_spoilt = path is not ReasoningPath.DIRECT and self.rng.random() < self.config.wrong_chain_share
        return spoil(chain, question.answer, self.rng) if is_spoilt else chain

    def _draw_marks(self, number: int) -> tuple[Mark, ...]:
        order = self.rng.permutation(len(self.config.marks))
        return tuple(self.config.marks[i] for i in order[:number])

    def _sample(
        self, question: Question, marks: tuple[Mark, ...], chains: dict[ReasoningPath, str], slot: int
    ) -> SpatialSample:
        regions = tuple(
            Region(mark=mark, box_xyxy_px=truth.box_xyxy_px, name=truth.shape, center_m=truth.center_m)
            for mark, truth in zip(marks, (subject.truth for subject in question.subjects), strict=False)
        )
        paths = tuple(chains)
        if self.config.wrong_chain_share > 0:
            chains = {path: self._spoil(path, chain, question) for path, chain in chains.items()}
        return SpatialSample(
            sample_id=f"{self.name}-q{slot}-{paths[0].value if len(paths) == 1 else 'both'}",
            domain=self.family,
            kind=question.kind,
            paths=paths,
            images=(self.image,),
            question=question.text,
            answer=question.answer,
            regions=regions,
            objects=tuple(SeenObject(name=truth.name, box_xyxy_px=truth.box_xyxy_px) for truth in self.objects)
            if self.config.name_objects
            else (),
            camera=self.camera,
            depths=self.depths,
            chains=chains,
        )
