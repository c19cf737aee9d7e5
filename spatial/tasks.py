"""The tasks that a blend weighs: the two paths of reasoning, and three kinds of direct answers."""

from typing import Literal

from spatial.sample import Box2DAnswer, Box3DAnswer, PlacesAnswer, PointAnswer, ReasoningPath, SpatialSample

Task = Literal["lor", "dtr", "grounding_3d", "grounding_2d", "plain"]


def task_of(sample: SpatialSample, path: ReasoningPath) -> Task:
    """The task of a sample asked through a path: decided by the path if it reasons, else by the type of answer."""
    if path is not ReasoningPath.DIRECT:
        return "lor" if path is ReasoningPath.LOR else "dtr"
    match sample.answer:
        case PointAnswer() | PlacesAnswer() | Box3DAnswer():
            return "grounding_3d"
        case Box2DAnswer():
            return "grounding_2d"
        case _:
            return "plain"
