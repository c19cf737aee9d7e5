"""Kinds about what is to be seen and where, answered at once: what a base learns, and grounding in the cold start.

Places in 3D are centres in metres in the camera frame with two decimals; places in the image are thousandths of its
sides. Lists run from left to right in the picture.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spatial.grammar import Box3D, decimals, format_box
from spatial.places import format_box_2d, format_places
from spatial.questions.kind import Kind
from spatial.questions.question import Question, Subject
from spatial.questions.scene import KnownObject, KnownScene
from spatial.questions.voices import Style
from spatial.sample import Box2DAnswer, Box3DAnswer, PlacesAnswer, PointAnswer, TextAnswer, Vector3

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True)
class _Perceived(Kind):
    is_reasoned: ClassVar[bool] = False


@dataclass(frozen=True)
class AllPlaces(_Perceived):
    """The names and centres of all objects."""

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        centers_m = {subject.name: _written(subject.thing.center_m) for subject in subjects}
        answer = PlacesAnswer(centers_m=centers_m)
        return Question(self.name, subjects, self._stem(subjects, style), answer, format_places(centers_m))


@dataclass(frozen=True)
class Place(_Perceived):
    """The centre of one object."""

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        center_m = _written(subjects[0].thing.center_m)
        answer = PointAnswer(center_m=center_m)
        return Question(self.name, subjects, self._stem(subjects, style), answer, decimals(*center_m))


@dataclass(frozen=True)
class Name(_Perceived):
    """What a marked object is called."""

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        name = subjects[0].thing.name
        return Question(self.name, subjects, self._stem(subjects, style), TextAnswer(text=name), name)


@dataclass(frozen=True)
class NameAtPlace(_Perceived):
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
        left, top, right, bottom = _thousandths(subjects[0].thing, scene)
        stem = self.phrasing(style.voice.name).stem.format((left + right) // 2, (top + bottom) // 2)
        name = subjects[0].thing.name
        return Question(self.name, subjects, stem, TextAnswer(text=name), name)


@dataclass(frozen=True)
class FlatBox(_Perceived):
    """The box around an object in the image."""

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        box = _thousandths(subjects[0].thing, scene)
        answer = Box2DAnswer(box_xyxy=box)
        return Question(self.name, subjects, self._stem(subjects, style), answer, format_box_2d(box))


@dataclass(frozen=True)
class SolidBox(_Perceived):
    """The 3D box of an object."""

    def ask(self, subjects: tuple[Subject, ...], scene: KnownScene, style: Style, rng: "Generator") -> Question:
        thing = subjects[0].thing
        answer = Box3DAnswer(center_m=thing.center_m, size_m=thing.size_m, yaw_deg=thing.yaw_deg)
        written = format_box(Box3D(thing.center_m, thing.category, thing.size_m, thing.yaw_deg))
        return Question(self.name, subjects, self._stem(subjects, style), answer, written)


def _thousandths(thing: KnownObject, scene: KnownScene) -> tuple[int, int, int, int]:
    width_px, height_px = scene.size_px
    sides = zip(thing.box_xyxy_px, (width_px, height_px, width_px, height_px), strict=True)
    left, top, right, bottom = (round(1000 * side / whole) for side, whole in sides)
    return left, top, right, bottom


def _written(center_m: Vector3) -> Vector3:
    """The truth of a place is what stands in the response; adding 0.0 turns -0.0 into 0.0."""
    x, y, z = (round(value, 2) + 0.0 for value in center_m)
    return x, y, z
