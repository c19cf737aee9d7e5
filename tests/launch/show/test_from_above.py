"""What the picture of a scene from above has on it."""

import numpy as np
from matplotlib.figure import Figure

from launch.show.from_above import draw_from_above
from spatial.grammar import Box3D
from spatial.sample import ImageRef, ReasoningPath, Region, SpatialSample, TextAnswer


def test_true_centres_are_circles_and_detected_ones_crosses_in_the_colour_of_their_region() -> None:
    sample = SpatialSample(
        sample_id="s",
        domain="d",
        kind="k",
        paths=(ReasoningPath.DTR,),
        images=(ImageRef(sha256="0" * 64, width_px=64, height_px=64),),
        question="Where?",
        answer=TextAnswer(text="there"),
        regions=(Region(mark="red", box_xyxy_px=(1, 1, 9, 9), center_m=(1.0, 0.5, 3.0)),),
    )
    axes = Figure().add_subplot()
    boxes = [Box3D((1.1, 0.5, 3.2), "cup (red point)"), Box3D((0.0, 0.0, 2.0), "something else")]
    draw_from_above(axes, sample, boxes, "from above")
    drawn = [(line.get_marker(), line.get_color(), np.asarray(line.get_xydata()).tolist()) for line in axes.lines]
    assert drawn == [
        ("o", "red", [[1.0, 3.0]]),
        ("x", "red", [[1.1, 3.2]]),
        ("x", "black", [[0.0, 2.0]]),
        ("^", "grey", [[0.0, 0.0]]),
    ]
