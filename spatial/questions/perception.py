"""Kinds about what is to be seen and where, answered at once: what a base learns, and grounding in the cold start.

Places in 3D are centres in metres in the camera frame with two decimals; places in the image are thousandths of its
sides. Lists run from left to right in the picture.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spatial.grammar import Box3D, decimals, format_box
from spatial.places import format_box_2d, format_places
from spatial.questions.kind import Kind
from spatial.questions.question import Question, Subject
from spatial.questions.scene import KnownObject, KnownScene
from spatial.questions.voices import Style
from spatial.sample import Answer, Box2DAnswer, Box3DAnswer, PlacesAnswer, PointAnswer, TextAnswer, Vector3

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True)
class AllPlaces(Kind):
    """The names and centres of all objects."""

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        centers_m = {subject.name: _written(subject.thing.center_m) for subject in subjects}
        return self._open_question(subjects, style, PlacesAnswer(centers_m=centers_m), format_places(centers_m))


@dataclass(frozen=True)
class _OneObject(Kind):
    """What is known of one object."""

    @abstractmethod
    def answer(self, thing: KnownObject, scene: KnownScene) -> tuple[Answer, str]:
        """The answer as data, and as it is written."""

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        (subject,) = subjects
        return self._open_question(subjects, style, *self.answer(subject.thing, scene))


@dataclass(frozen=True)
class Place(_OneObject):
    """Its centre."""

    def answer(self, thing: KnownObject, scene: KnownScene) -> tuple[Answer, str]:
        center_m = _written(thing.center_m)
        return PointAnswer(center_m=center_m), decimals(*center_m)


@dataclass(frozen=True)
class Name(_OneObject):
    """What it is called."""

    def answer(self, thing: KnownObject, scene: KnownScene) -> tuple[Answer, str]:
        return TextAnswer(text=thing.name), thing.name


@dataclass(frozen=True)
class NameAtPlace(Name):
    """What the object at a place in the image is called."""

    def has_clear_answer(self, things: tuple[KnownObject, ...], scene: KnownScene, style: Style) -> bool:
        """Whether the middle of its box lies in no other object's box: a place there means one object only."""
        (thing,) = things
        left, top, right, bottom = thing.box_xyxy_px
        x, y = (left + right) / 2, (top + bottom) / 2
        return not any(
            other is not thing
            and other.box_xyxy_px[0] <= x <= other.box_xyxy_px[2]
            and other.box_xyxy_px[1] <= y <= other.box_xyxy_px[3]
            for other in scene.objects
        )

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        (subject,) = subjects
        left, top, right, bottom = _thousandths(subject.thing, scene)
        stem = self.phrasing(style.voice.name).stem.format((left + right) // 2, (top + bottom) // 2)
        return Question(self.name, subjects, stem, *self.answer(subject.thing, scene))


@dataclass(frozen=True)
class FlatBox(_OneObject):
    """The box around it in the image."""

    def answer(self, thing: KnownObject, scene: KnownScene) -> tuple[Answer, str]:
        box = _thousandths(thing, scene)
        return Box2DAnswer(box_xyxy=box), format_box_2d(box)


@dataclass(frozen=True)
class SolidBox(_OneObject):
    """Its 3D box."""

    def answer(self, thing: KnownObject, scene: KnownScene) -> tuple[Answer, str]:
        answer = Box3DAnswer(center_m=thing.center_m, size_m=thing.size_m, yaw_deg=thing.yaw_deg)
        return answer, format_box(Box3D(thing.center_m, thing.category, thing.size_m, thing.yaw_deg))


def _thousandths(thing: KnownObject, scene: KnownScene) -> tuple[int, int, int, int]:
    width_px, height_px = scene.size_px
    sides = zip(thing.box_xyxy_px, (width_px, height_px, width_px, height_px), strict=True)
    left, top, right, bottom = (round(1000 * side / whole) for side, whole in sides)
    return left, top, right, bottom


def _written(center_m: Vector3) -> Vector3:
    """The truth of a place is what stands in the response; adding 0.0 turns -0.0 into 0.0."""
    x, y, z = (round(value, 2) + 0.0 for value in center_m)
    return x, y, z
