"""A kind of question: one object that knows all about it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from spatial.grammar import format_detect_block, format_response
from spatial.questions.measures import overlap
from spatial.questions.question import Question, Subject, multiple_choice
from spatial.questions.scene import KnownObject, KnownScene
from spatial.questions.voices import Style, VoiceName
from spatial.sample import Answer, ReasoningPath

if TYPE_CHECKING:  # configs name the kinds, and load without numpy
    from numpy.random import Generator


@dataclass(frozen=True)
class Named:
    """From `least` to `most` objects, each of which the question names or marks."""

    least: int
    most: int


class Together(Enum):
    """Objects that a question is about without naming them."""

    ALL_IN_VIEW = "all in view"
    ONE_CATEGORY = "all of one category"


ONE, TWO, THREE_OR_FOUR = Named(1, 1), Named(2, 2), Named(3, 4)


@dataclass(frozen=True)
class Phrasing:
    """How a question of a kind is asked in one voice."""

    stem: str
    """The question without its options; {0} and {1} stand for the names of its subjects."""
    subjects: Named | Together
    """How many objects it is about."""
    is_marked: bool = False
    """Whether its subjects are marked on every path; else on the detecting path only."""


@dataclass(frozen=True)
class Kind(ABC):
    """A kind of question, answered at once. A voice in which it has no phrasing does not ask it."""

    name: str
    _: KW_ONLY
    brief: Phrasing | None = None
    """How the procedural scenes ask it."""
    full: Phrasing | None = None
    """How it is asked about annotated images."""

    def phrasing(self, voice: VoiceName) -> Phrasing:
        """
        Raises:
            ValueError: the kind is not asked in this voice.
        """
        found = self.brief if voice == "brief" else self.full
        if found is None:
            raise ValueError(f"kind '{self.name}' has no {voice} phrasing")
        return found

    def is_clear(self, things: tuple[KnownObject, ...], scene: KnownScene, style: Style) -> bool:
        """Whether the eye can tell the answer about these objects, and which objects are meant."""
        max_overlap = style.margins.max_overlap
        is_hidden = max_overlap < 1 and any(
            overlap(one.box_xyxy_px, other.box_xyxy_px) > max_overlap
            for i, one in enumerate(things)
            for other in things[:i]
        )
        return not is_hidden and self.has_clear_answer(things, scene, style)

    def has_clear_answer(self, things: tuple[KnownObject, ...], scene: KnownScene, style: Style) -> bool:
        """Whether what the question compares differs by the margins of the style."""
        return True

    @abstractmethod
    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        """The question about subjects whose answer is clear."""

    def chain(self, question: Question, style: Style, path: ReasoningPath) -> str | None:
        """The whole true response through `path`; None where rounding its numbers makes the answer unclear.

        Raises:
            ValueError: the kind is not asked through this path.
        """
        if path is not ReasoningPath.DIRECT:
            raise ValueError(f"kind '{self.name}' is answered at once only")
        return format_response(path, answer=question.answer_text)

    def _stem(self, subjects: tuple[Subject, ...], style: Style) -> str:
        return self.phrasing(style.voice.name).stem.format(*(subject.name for subject in subjects))

    def _open_question(self, subjects: tuple[Subject, ...], style: Style, answer: Answer, verdict: str) -> Question:
        """A question without options."""
        return Question(self.name, subjects, self._stem(subjects, style), answer, verdict)

    def _choice(self, subjects: tuple[Subject, ...], style: Style, options: Sequence[str], verdict: str) -> Question:
        """A question with options, each written before its letter: `left (A) or right (B)`."""
        return multiple_choice(self.name, subjects, self._stem(subjects, style), options, verdict)


@dataclass(frozen=True)
class ReasonedKind(Kind):
    """A kind of question that is also asked through LOR and DTR."""

    @abstractmethod
    def think(self, question: Question, style: Style, path: ReasoningPath) -> str | None:
        """The thought that leads to the answer; None where its numbers, as written, lead to another answer or none."""

    def chain(self, question: Question, style: Style, path: ReasoningPath) -> str | None:
        if path is ReasoningPath.DIRECT:
            return super().chain(question, style, path)
        think = self.think(question, style, path)
        if think is None:
            return None
        detect = None
        if path is ReasoningPath.DTR:
            names = [f"{subject.thing.category} ({subject.name})" for subject in question.subjects]
            detect = format_detect_block([subject.thing.center_m for subject in question.subjects], names)
        return format_response(path, think=think, answer=question.answer_text, detect=detect)


@dataclass(frozen=True)
class RingKind(ReasonedKind):
    """A kind whose answers lie in a ring, as the hours of a clock do. One of them is drawn before the objects are
    chosen, because chance alone would favour a few."""

    num_on_ring: ClassVar[int]

    @abstractmethod
    def ring_place(self, things: tuple[KnownObject, ...], style: Style) -> int:
        """The place of the answer about clear objects in the ring of answers."""

    def ring_distance(self, things: tuple[KnownObject, ...], wanted: int, style: Style) -> int:
        """How far the answer about clear objects lies from the wanted one."""
        around = (self.ring_place(things, style) - wanted) % self.num_on_ring
        return min(around, self.num_on_ring - around)
