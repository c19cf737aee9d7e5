"""Kinds about what is in view: how many objects, and whether a thing is there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spatial.questions.kind import ReasonedKind
from spatial.questions.question import Question, Subject, multiple_choice
from spatial.questions.scene import KnownObject, KnownScene
from spatial.questions.voices import Style
from spatial.sample import NumberAnswer, ReasoningPath

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True)
class Count(ReasonedKind):
    """How many objects there are: in view, or of a category."""

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        number = len(subjects)
        answer = NumberAnswer(value=float(number), unit="count")
        return self._open_question(subjects, style, answer, str(number))

    def think(self, question: Question, style: Style, path: ReasoningPath) -> str | None:
        """`red cube, blue sphere, so 2.`"""
        return style.voice.close(style.voice.listing(question.subjects), question.said, f"So {question.said}.")


@dataclass(frozen=True)
class Exists(ReasonedKind):
    """Whether a thing of some name is in view."""

    def has_clear_answer(self, things: tuple[KnownObject, ...], scene: KnownScene, style: Style) -> bool:
        return bool(scene.vocabulary)

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        names = [subject.name for subject in subjects]
        # The answer first, so that yes and no are as likely.
        verdict = "yes" if rng.random() < 0.5 else "no"
        is_there = verdict == "yes"
        asked = names[int(rng.integers(len(names)))] if is_there else _absent_name(names, scene.vocabulary, rng)
        article = "an" if asked[0] in "aeiou" else "a"
        stem = self.phrasing(style.voice.name).stem.format(f"{article} {asked}")
        return multiple_choice(self.name, subjects, stem, ("yes", "no"), verdict)

    def think(self, question: Question, style: Style, path: ReasoningPath) -> str | None:
        """`red cube, blue sphere, so yes (A).`"""
        return style.voice.close(style.voice.listing(question.subjects), question.said, f"So {question.said}.")


def _absent_name(names: Sequence[str], vocabulary: tuple[Sequence[str], ...], rng: "Generator") -> str:
    """A name that is not there, though it shares a word with one that is (its colour or its shape)."""
    words = names[int(rng.integers(len(names)))].split()
    place = 0 if rng.random() < 0.5 else 1
    near = (" ".join([*words[:place], other, *words[place + 1 :]]) for other in vocabulary[place])
    absent = [name for name in near if name not in names]
    return absent[int(rng.integers(len(absent)))]
