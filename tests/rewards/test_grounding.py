"""Places answered at once: points, lists of places, boxes in 3D and in the image. Literal numbers."""

import math

import pytest

from rewards.accuracy import accuracy_score, is_right
from rewards.config import RewardConfig
from rewards.reward import center_errors_m, predicted_centers_m, score_response
from spatial.sample import (
    Answer,
    Box2DAnswer,
    Box3DAnswer,
    ImageRef,
    PlacesAnswer,
    PointAnswer,
    ReasoningPath,
    Region,
    SpatialSample,
)

POINT = PointAnswer(center_m=(0.0, 3.0, 4.0))  # 5 m away
PLACES = PlacesAnswer(centers_m={"red cube": (0.0, 3.0, 4.0), "blue cone": (0.0, 0.0, 2.0)})
BOX = Box3DAnswer(center_m=(0.0, 3.0, 4.0), size_m=(1.0, 2.0, 2.0), yaw_deg=10.0)
IN_IMAGE = Box2DAnswer(box_xyxy=(100, 100, 300, 200))


def box_text(center: str = "0.00,3.00,4.00", size: str = "1.00,2.00,2.00", yaw: str = "10.00") -> str:
    return f'<3d_box center="{center}" size="{size}" yaw="{yaw}">cube</3d_box>'


@pytest.mark.parametrize(
    ("answer", "truth", "score", "right"),
    [
        ("0.00,3.00,4.00", POINT, 1.0, True),
        ("0.50,3.00,4.00", POINT, math.exp(-1.0 / 5.01), True),  # 0.5 m off 5 m: just within a tenth
        ("0.51,3.00,4.00", POINT, math.exp(-1.02 / 5.01), False),
        ("0.00,3.00", POINT, 0.0, False),
        ("red cube 0.00,3.00,4.00", POINT, 0.0, False),
        ("red cube 0.00,3.00,4.00; blue cone 0.00,0.00,2.00", PLACES, 1.0, True),
        ("blue cone 0.00,0.00,2.00;red cube 0.00,3.00,4.00", PLACES, 1.0, True),
        ("red cube 0.00,3.00,4.00", PLACES, 0.5, False),
        (
            "red cube 0.00,3.00,4.00; blue cone 0.00,0.00,2.00; red cone 1,1,1; red ball 1,1,1",
            PLACES,
            0.5,
            False,
        ),
        ("red cube 0.00,3.00,4.00; red cube 0.00,3.00,4.00", PLACES, 0.0, False),
        ("red cube 0.00,3.00,4.00; ", PLACES, 0.0, False),
        (box_text(), BOX, 1.0, True),
        (box_text(yaw="-170.00"), BOX, 1.0, True),  # half a turn changes nothing
        (box_text(yaw="55.00"), BOX, (1.0 + 1.0 + 0.5) / 3.0, False),
        (box_text(size="1.26,2.00,2.00"), BOX, (2.0 + math.exp(-0.52 / 3.01)) / 3.0, False),
        ('<3d_box center="0.00,3.00,4.00">cube</3d_box>', BOX, 0.0, False),
        (box_text() + box_text(), BOX, 0.0, False),
        ("[100,100,300,200]", IN_IMAGE, 1.0, True),
        ("[100, 100, 200, 200]", IN_IMAGE, 0.5, True),
        ("[200,100,400,200]", IN_IMAGE, 1.0 / 3.0, False),
        ("[300,200,100,100]", IN_IMAGE, 0.0, False),
        ("[400,400,500,500]", IN_IMAGE, 0.0, False),
        ("100,100,300,200", IN_IMAGE, 0.0, False),
    ],
)
def test_places_score_by_distance_and_overlap(answer: str, truth: Answer, score: float, right: bool) -> None:
    assert accuracy_score(answer, truth) == pytest.approx(score, abs=1e-9)
    assert is_right(answer, truth) is right


def sample(answer: Answer, *regions: Region) -> SpatialSample:
    return SpatialSample(
        sample_id="s",
        domain="toy",
        kind="place",
        paths=(ReasoningPath.DIRECT,),
        images=(ImageRef(sha256="0" * 64, width_px=64, height_px=64),),
        question="Where?",
        answer=answer,
        regions=regions,
    )


RED = Region(mark="red", box_xyxy_px=(1.0, 1.0, 9.0, 9.0), center_m=(0.0, 3.0, 4.0))


def test_an_answer_at_once_is_worth_accuracy_and_format() -> None:
    right = score_response("<answer>0.00,3.00,4.00</answer>", ReasoningPath.DIRECT, sample(POINT), RewardConfig())
    thought = score_response(
        "<think>a</think><answer>0,3,4</answer>", ReasoningPath.DIRECT, sample(POINT), RewardConfig()
    )
    assert (right.total, right.accuracy, right.format, right.center) == (1.0, 1.0, 1.0, None)
    assert (thought.accuracy, thought.format) == (1.0, 0.0)


def test_a_region_answered_with_a_point_or_a_box_has_a_centre_error() -> None:
    said = "<answer>0.00,3.00,4.30</answer>"
    assert center_errors_m(said, ReasoningPath.DIRECT, sample(POINT, RED)) == pytest.approx((0.3,))
    assert center_errors_m(f"<answer>{box_text()}</answer>", ReasoningPath.DIRECT, sample(BOX, RED)) == (0.0,)
    # A named object is no region, and a 2D box no centre.
    assert center_errors_m(said, ReasoningPath.DIRECT, sample(POINT)) is None
    assert predicted_centers_m("<answer>[1,1,2,2]</answer>", ReasoningPath.DIRECT, sample(IN_IMAGE, RED)) == ()
