"""Samples and groups with known contents, for runs that are written without a model."""

from collections.abc import Sequence
from dataclasses import replace

from flow.group import Group
from flow.score import Failure, Score
from flow.trajectory import Trajectory, VersionSpan
from spatial.grammar import format_detect_block, format_response
from spatial.sample import Camera, ChoiceAnswer, ImageRef, NumberAnswer, ReasoningPath, Region, SpatialSample, Vector3

TRUE_M: tuple[Vector3, Vector3] = ((0.0, 0.0, 2.0), (0.5, 0.25, 2.5))
KINDS = ("depth", "left_right")


def make_sample(image: ImageRef, kind: str, path: ReasoningPath) -> SpatialSample:
    """A sample of one of `KINDS`, through one path; with two regions through DTR."""
    regions = (
        Region(mark="red", box_xyxy_px=(20.0, 20.0, 44.0, 44.0), name="cube", center_m=TRUE_M[0]),
        Region(mark="blue", box_xyxy_px=(44.0, 30.0, 60.0, 50.0), name="cone", center_m=TRUE_M[1]),
    )
    return SpatialSample(
        sample_id=f"scene-{kind}-{path}",
        domain="tabletop",
        kind=kind,
        paths=(path,),
        images=(image,),
        question=f"A question on {kind}?",
        answer=NumberAnswer(value=2.0, unit="m") if kind == "depth" else ChoiceAnswer(letter="A", num_options=2),
        regions=regions if path is ReasoningPath.DTR else (),
        camera=Camera(fx_px=64.0, fy_px=64.0, cx_px=32.0, cy_px=32.0),
    )


def make_group(
    sample: SpatialSample,
    index: int,
    step: int,
    rewards: Sequence[float],
    think: str = "so",
    failures: tuple[Failure, ...] = (),
) -> Group:
    """A group with one response for each reward; predicted centres are 0.1 m too far."""
    (path,) = sample.paths
    detect = format_detect_block([(x, y, z + 0.1) for x, y, z in TRUE_M], ["cube (red point)", "cone (blue point)"])
    text = format_response(path, answer="2.0 m", think=think, detect=detect if path is ReasoningPath.DTR else None)
    trajectory = Trajectory(
        group_id=index,
        member=0,
        sample_id=sample.sample_id,
        path=path,
        images=sample.images,
        prompt_token_ids=(1,),
        response_token_ids=(5, 6, 7),
        rollout_logprobs=(-0.5, -0.25, -0.125),
        version_spans=(VersionSpan(step - 1, 3),),
        response_text=text,
        finish_reason="stop",
        engine="rollout-0",
    )
    return Group(
        index=index,
        sample=sample,
        path=path,
        trajectories=tuple(replace(trajectory, member=member) for member in range(len(rewards))),
        scores=tuple(Score(reward, reward, 1.0, 0.5 if path is ReasoningPath.DTR else None) for reward in rewards),
        failures=failures,
    )
