"""A build: annotated images in, questions with chains out, in the layout that `data: {type: files}` trains on.

::

    out/recipe.json                what the parts were made from
        parts/000000.json          questions and counts of 16 images
        images/9f/9f86….png
        train.jsonl  validation.jsonl  test.jsonl  report.json      put together from the parts

A part is written whole or not at all, and is the same whenever it is made. So a build that was killed can be started
again: it makes the missing parts, and the result has the same bytes as without the interruption. (With a server that
rewrites chains this holds as far as the server honours the seed of each request.) The parts may be deleted afterwards;
as long as they are there, building with other `splits` is quick.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from corpora.builder.annotated import AnnotatedImage, SceneImages, Source
from corpora.builder.asking import WorkedExample, ask
from corpora.builder.config import BuildConfig, OpenAIRewrite, SceneSource, Splits
from corpora.builder.errors import BuildError
from corpora.builder.omni3d import Omni3DImages
from corpora.builder.report import QuestionCounts, RejectCounts, Report, Tally, merge
from corpora.builder.rewrite import Rewriter
from spatial.images import ImageStore
from spatial.program_hash import QUESTION_SOURCES, program_hash
from spatial.sample import ReasoningPath, SpatialSample
from spatial.strict import StrictModel
from spatial.whole_files import write_whole

IMAGES_A_PART = 16
# Settings that change neither a question nor a chain; they may differ from call to call.
_FREE: Any = {
    "out": True,
    "splits": True,
    "source": {"file", "images"},
    "rewrite": {"base_url", "api_key_env", "concurrency", "timeout_s", "attempts"},
}

Progress = Callable[[int, int], None]
"""Called with the number of images done and the total."""


class Part(StrictModel):
    """The result of a few images."""

    tally: Tally
    samples: tuple[SpatialSample, ...]


def build_data(config: BuildConfig, on_progress: Progress | None = None) -> Report:
    """Make the parts that are missing in `config.out`, and join all parts.

    Raises:
        BuildError: the folder holds another build's parts, no question came out, a split got none, or the server that
            rewrites cannot be used.
        FileNotFoundError: the source's file is missing.
    """
    parts = config.out / "parts"
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_source(config)))
        _keep_recipe(config, source)
        parts.mkdir(exist_ok=True)
        rewriter = (
            stack.enter_context(Rewriter(config.rewrite, config.seed))
            if isinstance(config.rewrite, OpenAIRewrite)
            else None
        )
        files = [parts / f"{number:06d}.json" for number in range(-(-len(source) // IMAGES_A_PART))]
        for number, file in enumerate(files):
            end = min((number + 1) * IMAGES_A_PART, len(source))
            if not file.exists():
                part = make_part(config, source, range(number * IMAGES_A_PART, end), rewriter)
                write_whole(file, part.model_dump_json())
            if on_progress is not None:
                on_progress(end, len(source))
        opening = Tally(rejects=source.rejects)
    return _put_together(config, files, opening)


def open_source(config: BuildConfig) -> Source:
    """The images that the config names, to be closed; their files go to `out/images`."""
    images = ImageStore(config.out / "images")
    if isinstance(config.source, SceneSource):
        return SceneImages(config.source, images, config.seed)
    return Omni3DImages(config.source, images)


def make_part(config: BuildConfig, source: Source, indices: Sequence[int], rewriter: Rewriter | None) -> Part:
    """Ask about images `indices` of the source."""
    samples: list[SpatialSample] = []
    rejects = RejectCounts()
    unasked: dict[str, dict[str, int]] = {}
    num_refused = num_without_question = 0
    for index in indices:
        loaded = source.load(index)
        for reject in loaded.rejects:
            rejects.add(reject)
        if loaded.image is None:
            num_refused += 1
            continue
        found = ask_image(config, loaded.image, unasked)
        num_without_question += not found
        samples += found
    rewrites: dict[ReasoningPath, dict[str, int]] = {}
    if rewriter is not None:
        samples, rewrites = rewriter.rewrite(samples)
    tally = Tally(
        num_images=len(indices),
        num_images_refused=num_refused,
        num_images_without_question=num_without_question,
        rejects=rejects,
        unasked=unasked,
        rewrites=rewrites,
    )
    return Part(tally=tally, samples=tuple(samples))


def ask_image(config: BuildConfig, image: AnnotatedImage, unasked: dict[str, dict[str, int]]) -> list[SpatialSample]:
    """Questions about one image, each of another kind; kinds that cannot be asked are counted in `unasked`."""
    name = f"{image.domain}-{image.key}"
    digest = hashlib.sha256(f"{config.seed}/{name}".encode()).digest()
    rng = np.random.default_rng(list(digest))
    kinds = [kind for kind, weight in config.kinds.items() if weight > 0]
    share = np.array([config.kinds[kind] for kind in kinds])
    samples: list[SpatialSample] = []
    for kind in map(str, rng.choice(kinds, len(kinds), replace=False, p=share / share.sum())):
        if len(samples) == config.questions_per_image:
            break
        found = ask(kind, image, config, rng)
        if not isinstance(found, WorkedExample):
            reasons = unasked.setdefault(kind, {})
            reasons[found] = reasons.get(found, 0) + 1
        elif found.chains:
            samples.append(
                SpatialSample(
                    sample_id=f"{name}-q{len(samples)}",
                    domain=image.domain,
                    kind=kind,
                    paths=tuple(found.chains),
                    images=(image.image,),
                    question=found.question.text,
                    answer=found.question.answer,
                    regions=found.question.regions,
                    camera=image.camera,
                    chains=found.chains,
                )
            )
    return samples


def split_of(sha256: str, splits: Splits, seed: int) -> str:
    """The split of an image, by its content: the same image is in the same split wherever it comes from."""
    digest = hashlib.sha256(f"{seed}/{sha256}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    if place < splits.test:
        return "test"
    return "validation" if place < splits.test + splits.validation else "train"


def _keep_recipe(config: BuildConfig, source: Source) -> None:
    """Record what the parts are made from, or check that the parts in the folder were made from the same."""
    recipe = {
        "config": config.model_dump(mode="json", exclude=_FREE),
        "source": source.fingerprint,
        "program": program_hash(Path(__file__).parent, *QUESTION_SOURCES),
    }
    file = config.out / "recipe.json"
    config.out.mkdir(parents=True, exist_ok=True)
    if file.exists():
        kept = json.loads(file.read_text())
        if differing := [key for key in recipe if kept.get(key) != recipe[key]]:
            raise BuildError(
                f"{config.out} was begun with another {' and '.join(differing)} (see {file}): use the same, or give "
                "another folder with out=…"
            )
    elif any(config.out.glob("*.jsonl")):
        raise BuildError(f"{config.out} holds data that this build did not make: give another folder with out=…")
    else:
        write_whole(file, json.dumps(recipe, indent=1) + "\n")


def _put_together(config: BuildConfig, files: Sequence[Path], opening: Tally) -> Report:
    """The splits' files and report.json, from the parts in order."""
    splits = [split for split, share in config.splits if share > 0]
    temporary = {split: config.out / f"{split}.tmp" for split in splits}
    counts = QuestionCounts(splits)
    with ExitStack() as stack:
        lines = {split: stack.enter_context(temporary[split].open("w", encoding="utf-8")) for split in splits}

        def tallies() -> Iterator[Tally]:
            yield opening
            for file in files:
                part = Part.model_validate_json(file.read_bytes())
                for sample in part.samples:
                    split = split_of(sample.images[0].sha256, config.splits, config.seed)
                    lines[split].write(sample.model_dump_json() + "\n")
                    counts.add(split, sample)
                yield part.tally

        report = counts.report(merge(tallies()))
    if empty := [split for split in splits if not report.questions[split]]:
        for file in temporary.values():
            file.unlink()
        raise BuildError(_empty_splits_message(config, report, empty))
    for split, file in temporary.items():
        file.replace(config.out / f"{split}.jsonl")
    write_whole(config.out / "report.json", report.model_dump_json(indent=1) + "\n")
    return report


def _empty_splits_message(config: BuildConfig, report: Report, empty: Sequence[str]) -> str:
    """The message about splits that got no question, with what to do."""
    tally = report.tally
    if sum(report.questions.values()):
        return (
            f"{config.out}: no image came into {' and '.join(empty)}: build from more images, or change the split's "
            "share (0 for none) in splits"
        )
    first = "\n  ".join(["", *tally.rejects.examples.values()])
    return f"{config.out}: none of {tally.num_images} images gave a question; first rejects:{first}"
