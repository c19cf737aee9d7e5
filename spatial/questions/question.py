"""A question about known objects, with its true answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from spatial.questions.scene import KnownObject
from spatial.sample import Answer, ChoiceAnswer, Mark, Region, mark_label


@dataclass(frozen=True)
class Subject:
    """An object that a question is about, and what the question calls it."""

    name: str
    """ "red cube", or the label of its mark, "red point"."""
    thing: KnownObject
    mark: Mark | None = None
    """None: the question calls it by its own name."""

    @classmethod
    def marked(cls, thing: KnownObject, mark: Mark) -> "Subject":
        """An object that the question calls by its mark."""
        return cls(mark_label(mark), thing, mark)

    @classmethod
    def all_marked(cls, things: Sequence[KnownObject], marks: Sequence[Mark]) -> tuple["Subject", ...]:
        """Objects with their marks.

        Raises:
            ValueError: there are not as many marks as objects.
        """
        return tuple(cls.marked(thing, mark) for thing, mark in zip(things, marks, strict=True))

    @classmethod
    def named(cls, thing: KnownObject) -> "Subject":
        """An object that the question calls by its own name."""
        return cls(thing.name, thing)


@dataclass(frozen=True)
class Question:
    """A question with its answer in both forms: as data, and in words."""

    kind: str
    subjects: tuple[Subject, ...]
    """The objects that it is about, in the order in which it names them; where it names none, from left to right."""
    text: str
    answer: Answer
    verdict: str
    """The text of the right option ("red cube", "left", "yes"), or the number with its unit ("1.43 m", "3")."""

    @property
    def answer_text(self) -> str:
        """What belongs between the answer tags, whatever the path."""
        return self.answer.letter if isinstance(self.answer, ChoiceAnswer) else self.verdict

    @property
    def said(self) -> str:
        """The verdict as a chain says it: an option with its letter, "left (A)", as the question writes it.

        The letter comes after the words on both sides, so that a small model can copy it from the one to the other.
        """
        return f"{self.verdict} ({self.answer.letter})" if isinstance(self.answer, ChoiceAnswer) else self.verdict

    @property
    def regions(self) -> tuple[Region, ...]:
        """The marked regions of the image that it refers to."""
        return tuple(
            Region(mark=mark, box_xyxy_px=thing.box_xyxy_px, name=thing.category, center_m=thing.center_m)
            for thing, mark in ((subject.thing, subject.mark) for subject in self.subjects)
            if mark is not None
        )


def multiple_choice(
    kind: str, subjects: tuple[Subject, ...], stem: str, options: Sequence[str], verdict: str
) -> Question:
    """A question with options, each written before its letter: `left (A) or right (B)`."""
    letters = [chr(ord("A") + i) for i in range(len(options))]
    *first, last = (f"{option} ({letter})" for letter, option in zip(letters, options, strict=True))
    answer = ChoiceAnswer(letter=letters[options.index(verdict)], num_options=len(options))
    return Question(kind, subjects, f"{stem} {', '.join(first)} or {last}", answer, verdict)
