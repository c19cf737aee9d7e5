"""Asking about an annotated image.

Names of real objects repeat, so that a question calls its objects by marked regions ("red point"); only a count asks by
name. A question is asked only where the exact numbers leave no doubt (`Margins`), and where the numbers with two
decimals, as its chains write them, give the same answer.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from corpora.builder.annotated import AnnotatedImage
from corpora.builder.config import BuildConfig
from spatial.questions.choosing import choose_all
from spatial.questions.kind import Kind, Named, RingKind
from spatial.questions.kinds import KINDS
from spatial.questions.question import Question, Subject
from spatial.questions.voices import FULL, Style
from spatial.sample import ReasoningPath

Obstacle = Literal["unclear", "rounding"]
"""Why an image is not asked a kind: no answer is clear, or one that is clear does not survive rounding."""

_MAX_TRIES = 60
_NUM_HOURS = 12


@dataclass(frozen=True)
class WorkedExample:
    """A question, and the whole true response through each path that it may be asked through."""

    question: Question
    chains: dict[ReasoningPath, str]


def style_of(config: BuildConfig) -> Style:
    """How a build asks."""
    return Style(FULL, config.margins, compares_extents=True)


def ask(name: str, image: AnnotatedImage, config: BuildConfig, rng: np.random.Generator) -> WorkedExample | Obstacle:
    """A question of this kind about random objects of the image, in random order."""
    kind, style = KINDS[name], style_of(config)
    subjects = kind.phrasing(style.voice.name).subjects
    if isinstance(subjects, Named):
        return _ask_marked(kind, subjects, image, config, rng)
    things = choose_all(subjects, image, config.max_count, rng)
    if things is None or not kind.is_clear(things, image, style):
        return "unclear"
    question = kind.ask(tuple(map(Subject.named, things)), image, style, rng)
    return _work(kind, question, style, config) or "rounding"


def _ask_marked(
    kind: Kind, subjects: Named, image: AnnotatedImage, config: BuildConfig, rng: np.random.Generator
) -> WorkedExample | Obstacle:
    """A question about marked objects. It tries random ones, since an image may show too many to try all choices."""
    style = style_of(config)
    reason: Obstacle = "unclear"
    # Drawn for every kind, needed or not: the random numbers after it, and so the questions of a seed, depend on it.
    wanted = int(rng.integers(_NUM_HOURS))
    found: dict[int, WorkedExample] = {}
    for _ in range(_MAX_TRIES):
        is_fixed = subjects.least == subjects.most
        number = subjects.least if is_fixed else int(rng.integers(subjects.least, subjects.most + 1))
        if number > len(image.objects):
            continue
        things = tuple(image.objects[i] for i in rng.permutation(len(image.objects))[:number])
        marks = [config.marks[i] for i in rng.permutation(len(config.marks))[:number]]
        if not kind.is_clear(things, image, style):
            continue
        # Of answers on a ring, the one that comes nearest to the wanted one is asked for: else a few hours win.
        distance = kind.ring_distance(things, wanted, style) if isinstance(kind, RingKind) else 0
        if distance in found:
            continue
        question = kind.ask(Subject.all_marked(things, marks), image, style, rng)
        example = _work(kind, question, style, config)
        if example is None:
            reason = "rounding"
            continue
        found[distance] = example
        if not isinstance(kind, RingKind):
            break
    return found[min(found)] if found else reason


def _work(kind: Kind, question: Question, style: Style, config: BuildConfig) -> WorkedExample | None:
    """The question with its chains; None where rounding makes the answer of a chain unclear."""
    # Without a marked region there is nothing to detect.
    is_marked = any(subject.mark is not None for subject in question.subjects)
    paths = [path for path in config.paths if is_marked or path is not ReasoningPath.DTR]
    chains = {path: chain for path in paths if (chain := kind.chain(question, style, path)) is not None}
    return WorkedExample(question, chains) if len(chains) == len(paths) else None
