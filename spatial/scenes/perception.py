"""Questions about what is to be seen and where, answered at once: what a base learns, and grounding in the cold start.

Places in 3D are centres in metres in the camera frame with two decimals; places in the image are thousandths of its
sides. Lists run from left to right in the picture.
"""

import numpy as np

from spatial.grammar import Box3D, decimals, format_box
from spatial.places import format_box_2d, format_places
from spatial.sample import (
    Box2DAnswer,
    Box3DAnswer,
    PlacesAnswer,
    PointAnswer,
    TextAnswer,
    Vector3,
)
from spatial.scenes.config import REGION_PERCEPTION_KINDS
from spatial.scenes.questions import Question, Subject
from spatial.scenes.scene import ObjectTruth

_ONE_OBJECT = ("place", "box_2d", "name_at", *REGION_PERCEPTION_KINDS)


def pick_perceived(
    kind: str, objects: tuple[ObjectTruth, ...], rng: np.random.Generator
) -> tuple[ObjectTruth, ...] | None:
    """The objects that a question of this kind is about; None when no choice makes it clear."""
    if kind not in _ONE_OBJECT:
        return objects
    clear = [truth for truth in objects if kind != "name_at" or _is_alone(truth, objects)]
    return (clear[int(rng.integers(len(clear)))],) if clear else None


def write_perception(kind: str, subjects: tuple[Subject, ...], image_size_px: int) -> Question:
    """The question of this kind about these subjects."""
    name, truth = subjects[0].name, subjects[0].truth
    match kind:
        case "scene":
            centers_m = {subject.name: _rounded(subject.truth.center_m) for subject in subjects}
            places = PlacesAnswer(centers_m=centers_m)
            return Question(kind, subjects, "What is where?", places, format_places(centers_m))
        case "place" | "region_center":
            center_m = _rounded(truth.center_m)
            answer = PointAnswer(center_m=center_m)
            return Question(kind, subjects, f"Where is the {name}?", answer, decimals(*center_m))
        case "name_at":
            left, top, right, bottom = _thousandths(truth, image_size_px)
            text = f"What is at [{(left + right) // 2},{(top + bottom) // 2}]?"
            return Question(kind, subjects, text, TextAnswer(text=truth.name), truth.name)
        case "box_2d":
            box = _thousandths(truth, image_size_px)
            text = f"Which box holds the {name}?"
            return Question(kind, subjects, text, Box2DAnswer(box_xyxy=box), format_box_2d(box))
        case "region_name":
            return Question(kind, subjects, f"What is the {name}?", TextAnswer(text=truth.name), truth.name)
        case "region_box":
            solid = Box3D(truth.center_m, truth.shape, truth.size_whl_m, truth.yaw_deg)
            answer_3d = Box3DAnswer(center_m=truth.center_m, size_m=truth.size_whl_m, yaw_deg=truth.yaw_deg)
            return Question(kind, subjects, f"Which 3D box holds the {name}?", answer_3d, format_box(solid))
    raise ValueError(f"kind '{kind}' is no kind of perception")


def _is_alone(truth: ObjectTruth, objects: tuple[ObjectTruth, ...]) -> bool:
    """Whether the middle of its box lies in no other object's box: a place there means one object only."""
    left, top, right, bottom = truth.box_xyxy_px
    x, y = (left + right) / 2, (top + bottom) / 2
    return not any(
        other is not truth
        and other.box_xyxy_px[0] <= x <= other.box_xyxy_px[2]
        and other.box_xyxy_px[1] <= y <= other.box_xyxy_px[3]
        for other in objects
    )


def _thousandths(truth: ObjectTruth, image_size_px: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(1000 * side / image_size_px) for side in truth.box_xyxy_px)
    return left, top, right, bottom


def _rounded(center_m: Vector3) -> Vector3:
    """As it is written: the truth of a place is what stands in the chain."""
    x, y, z = (round(value, 2) + 0.0 for value in center_m)
    return x, y, z
