"""What a question trains, for a blend: the two paths of reasoning, and what is answered at once."""

from typing import Literal

from spatial.sample import Box2DAnswer, Box3DAnswer, PlacesAnswer, PointAnswer, ReasoningPath, SpatialSample

Task = Literal["lor", "dtr", "grounding_3d", "grounding_2d", "plain"]


def task_of(sample: SpatialSample, path: ReasoningPath) -> Task:
    """The task of a sample asked through a path: by the path if it reasons, else by what the answer is."""
    if path is not ReasoningPath.DIRECT:
        return "lor" if path is ReasoningPath.LOR else "dtr"
    match sample.answer:
        case PointAnswer() | PlacesAnswer() | Box3DAnswer():
            return "grounding_3d"
        case Box2DAnswer():
            return "grounding_2d"
        case _:
            return "plain"
