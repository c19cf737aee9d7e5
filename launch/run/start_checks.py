"""Checks, before anything starts, that a run can use its samples.

A sample that cannot be used is left out by name, up to the share that the config allows: `RUN/left_out.jsonl` says
which and why. Every process of the run leaves out the same. Those that are only too long for the engines may be left
out however many they are (`data.too_long`).
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal

from actors.run.run_folder import LeftOut, RunFolder
from launch.run.prompt_checks import BROKEN, RoomForResponse, prompt_checks
from launch.run.sample_faults import Check, Fault, lines_by_cause
from launch.settings.config import ConfigError, FileDataConfig, RunConfig
from learner.sft import check_chains, name_of_task
from spatial.dataset import BadDataError, open_samples
from spatial.images import ImageStore
from spatial.sample import BadImageError, DepthRef, ImageRef, ReasoningPath, SpatialSample
from vlm.prompt import PromptEncoder

_log = logging.getLogger(__name__)

LearningPhase = Literal["cold_start", "train"]
SPLITS = ("train", "validation", "test")
_NUM_IMAGES_TRIED = 100
"""Per file; a wrong size or orientation usually affects a whole set."""
_NUM_CHAINS_MEASURED = 1000
_BATCH = 256


def check_samples(config: RunConfig, folder: RunFolder, model: Path, phases: Collection[LearningPhase]) -> None:
    """Find samples that cannot be used, record them, and check that enough are left for the run.

    Args:
        model: whose processor makes the prompts.
        phases: what the command does with the samples.

    Raises:
        BadDataError: more samples cannot be used than `max_bad_share` allows.
        ConfigError: the model cannot be asked with the config's prompts, or no sample is left for a task or a path
            that the config asks for.
    """
    images = ImageStore(folder.images)
    encoder = _make_encoder(config, model, images)
    checks = prompt_checks(config, encoder)
    left_out: list[LeftOut] = []
    for split in SPLITS:
        offer = _Offer(config)
        faults = _check_split(folder.data / f"{split}.jsonl", images, config, checks, offer)
        left_out += [LeftOut(split, name, f"{fault.cause.words}: {fault.detail}") for name, fault in faults.items()]
        if split == "train":
            offer.check(folder.data / "train.jsonl", phases)
            _warn_of_long_chains(offer.some, encoder, config)
    folder.write_left_out(left_out)


def _make_encoder(config: RunConfig, model: Path, images: ImageStore) -> PromptEncoder:
    try:
        return PromptEncoder(model, images, config.prompt)
    except ValueError as error:
        raise ConfigError(str(error)) from None


class _Offer:
    """What the samples of a file can be used for."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._asked: set[tuple[ReasoningPath, str]] = set()
        """Paths, and the kinds of question that may be asked through them."""
        self._chains: dict[str, list[int]] = {}
        self._has_objects = False
        self.some: list[SpatialSample] = []
        """The first of those with chains."""

    def add(self, sample: SpatialSample) -> None:
        self._asked |= {(path, sample.kind) for path in sample.paths}
        for path in sample.chains:
            self._chains.setdefault(name_of_task(sample, path, self._config.learner.sft), [0])
            self._has_objects = self._has_objects or bool(sample.objects)
        if sample.chains and len(self.some) < _NUM_CHAINS_MEASURED:
            self.some.append(sample)

    def check(self, file: Path, phases: Collection[LearningPhase]) -> None:
        """
        Raises:
            ConfigError: there is nothing for a task of the blend, or for a path that is trained.
        """
        try:
            if "cold_start" in phases:
                check_chains(self._chains, self._has_objects, self._config.learner.sft)
        except ValueError as error:
            raise ConfigError(f"{file}: {error}") from None
        for path, quota in self._config.training.groups_per_step.items() if "train" in phases else ():
            kinds = self._config.training.kinds.get(path)
            found = {kind for asked, kind in self._asked if asked is path}
            if quota and not (found if kinds is None else found & set(kinds)):
                wanted = f" of training.kinds.{path.value}={list(kinds)}" if found and kinds is not None else ""
                known = f" (there is {', '.join(sorted(found))})" if wanted else ""
                raise ConfigError(
                    f"{file}: no sample{wanted} may be asked through {path.value}{known}; set "
                    f"training.groups_per_step.{path.value}=0, or add data"
                )


def _check_split(
    file: Path, images: ImageStore, config: RunConfig, checks: Sequence[Check], offer: _Offer
) -> dict[str, Fault]:
    """By sample, why it cannot be used; the others are added to `offer`."""
    if not file.is_file():
        raise ConfigError(
            f"there is no {file}: a run needs train.jsonl, validation.jsonl and test.jsonl in its data folder, with at "
            "least one sample each (`sr-real data import` writes all three)"
        )
    opened = open_samples(file, images, config.max_bad_share)
    faults: dict[str, Fault] = {}
    if isinstance(config.data, FileDataConfig):
        step = 1 if config.data.check_images == "all" else max(1, len(opened.samples) // _NUM_IMAGES_TRIED)
        tried = range(0, len(opened.samples), step)
        faults = _broken_images((opened.samples[place] for place in tried), images)
        if len(faults) > max(1, config.max_bad_share * len(tried)):
            raise BadDataError(_summary(file, faults, len(tried), config))
    for sample in opened.samples:
        if fault := faults.get(sample.sample_id) or next(filter(None, (check(sample) for check in checks)), None):
            faults[sample.sample_id] = fault
        else:
            offer.add(sample)
    total = len(opened.samples) + len(opened.rejects)
    too_long = {name: fault for name, fault in faults.items() if fault.cause.is_too_long and _leaves_out(config)}
    bad = {name: fault for name, fault in faults.items() if name not in too_long}
    summaries = [_summary(file, bad, total, config)] if bad else []
    if too_long:
        head = f"{file}: {len(too_long)} of {total} samples are left out (data.too_long=leave_out):"
        summaries.append("\n  ".join([head, *lines_by_cause(too_long)]))
    if (bad and len(bad) + len(opened.rejects) > config.max_bad_share * total) or len(faults) == len(opened.samples):
        raise BadDataError("\n".join(summaries))
    for summary in summaries:
        _log.warning("%s", summary)
    return faults


def _leaves_out(config: RunConfig) -> bool:
    return isinstance(config.data, FileDataConfig) and config.data.too_long == "leave_out"


def check_questions(
    config: RunConfig, samples: Sequence[SpatialSample], paths: Sequence[ReasoningPath], model: Path, images: Path
) -> None:
    """Whether questions that are no part of the run's data leave room for their responses.

    Args:
        paths: which they are asked through.
        model: which is asked.
        images: the store with their images.

    Raises:
        BadDataError: more do not than `max_bad_share` allows.
        ConfigError: the model cannot be asked with the config's prompts.
    """
    check = RoomForResponse(config, _make_encoder(config, model, ImageStore(images)), paths)
    faults = {sample.sample_id: fault for sample in samples if (fault := check(sample))}
    if faults:
        summary = _summary("questions", faults, len(samples), config)
        if len(faults) > config.max_bad_share * len(samples):
            raise BadDataError(summary)
        _log.warning("%s", summary)


def _broken_images(samples: Iterator[SpatialSample], images: ImageStore) -> dict[str, Fault]:
    """By sample, an image or a depth map that cannot be decoded or has another size than it should."""

    @lru_cache(maxsize=100_000)
    def fault_of(image: ImageRef | DepthRef) -> str:
        try:
            images.open(image) if isinstance(image, ImageRef) else images.open_depth(image)
        except (BadImageError, OSError) as error:
            return str(error)
        return ""

    def check(sample: SpatialSample) -> Fault | None:
        for index, image in enumerate(sample.images):
            if why := fault_of(image):
                return Fault(BROKEN, f"images.{index}: {why}")
        for index, depth in enumerate(sample.depths):
            if depth and (why := fault_of(depth)):
                return Fault(BROKEN, f"depths.{index}: {why}")
        return None

    found: dict[str, Fault] = {}
    with ThreadPoolExecutor() as pool:
        while batch := list(islice(samples, _BATCH)):
            faults = zip(batch, pool.map(check, batch), strict=True)
            found |= {sample.sample_id: fault for sample, fault in faults if fault}
    return found


def _warn_of_long_chains(samples: Sequence[SpatialSample], encoder: PromptEncoder, config: RunConfig) -> None:
    """A cold start teaches a chain of any length; in reinforcement learning one that is too long is cut."""
    most = config.rollout.sampling.max_response_tokens
    chains = [(text, sample.sample_id) for sample in samples for text in sample.chains.values()]
    # None of its tokens is shorter than a byte, but for the one that ends it.
    measured = [(len(encoder.response_token_ids(text)), name) for text, name in chains if len(text.encode()) >= most]
    too_long = [(num, name) for num, name in measured if num > most]
    if too_long:
        longest, name = max(too_long)
        _log.warning(
            "of the first %d chains %d are longer than rollout.sampling.max_response_tokens=%d (the longest has %d "
            "tokens, sample %s): the model could not write them whole; raise that, or shorten them",
            *(len(chains), len(too_long), most, longest, name),
        )


def _summary(what: Path | str, faults: Mapping[str, Fault], total: int, config: RunConfig) -> str:
    head = (
        f"{what}: {len(faults)} of {total} samples cannot be used, and at most {config.max_bad_share:.1%} may be left "
        "out (max_bad_share):"
    )
    return "\n  ".join([head, *lines_by_cause(faults)])
