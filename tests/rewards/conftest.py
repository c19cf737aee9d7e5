"""Samples to score responses against."""

from collections.abc import Callable, Sequence

import pytest

from spatial.sample import COLOURS, Answer, ChoiceAnswer, ImageRef, ReasoningPath, Region, SpatialSample, Vector3

MakeSample = Callable[..., SpatialSample]


@pytest.fixture(scope="session")
def make_sample() -> MakeSample:
    """Builds a sample from its answer and its true centres (None: a region whose centre is not known)."""
    marks = COLOURS

    def make(
        answer: Answer | None = None,
        centers_m: Sequence[Vector3 | None] = (),
        question: str = "Which is closer? A. red point B. blue point",
    ) -> SpatialSample:
        regions = tuple(
            Region(mark=mark, box_xyxy_px=(1.0, 1.0, 5.0, 5.0), center_m=center)
            for mark, center in zip(marks, centers_m, strict=False)
        )
        return SpatialSample(
            sample_id="room-1",
            domain="room",
            kind="closer_to_camera",
            paths=(ReasoningPath.LOR, ReasoningPath.DTR),
            images=(ImageRef(sha256="0" * 64, width_px=64, height_px=64),),
            question=question,
            answer=answer or ChoiceAnswer(letter="A", num_options=2),
            regions=regions,
        )

    return make
