"""A small run's folder, written as a run writes it."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from actors.run.run_folder import RunFolder
from flow.group import Group
from flow.score import Failure, Score
from flow.trajectory import Trajectory, VersionSpan
from spatial.grammar import format_detect_block, format_response
from spatial.images import ImageStore
from spatial.sample import Camera, ChoiceAnswer, ImageRef, NumberAnswer, ReasoningPath, Region, SpatialSample

TRUE_M = ((0.0, 0.0, 2.0), (0.5, 0.25, 2.5))
KINDS = ("depth", "left_right")
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def make_sample(image: ImageRef, kind: str, path: ReasoningPath) -> SpatialSample:
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


def make_group(sample: SpatialSample, index: int, step: int, rewards: list[float], think: str = "so") -> Group:
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
        failures=(Failure("rollout", "ran out of luck", 3),) if index == 3 else (),
    )


def write_run(root: Path, num_steps: int = 3, think: str = "so") -> RunFolder:
    """Each step: four groups, of both kinds through both paths; the mean reward of a group is a tenth of its index."""
    folder = RunFolder(root)
    folder.create()
    image = ImageStore(folder.images).put(np.full((64, 64, 3), 120, np.uint8))
    samples = [make_sample(image, kind, path) for path in (ReasoningPath.LOR, ReasoningPath.DTR) for kind in KINDS]
    for step in range(1, num_steps + 1):
        groups = [
            (make_group(sample, index, step, [index / 10, index / 10], think), index != 2)
            for index, sample in enumerate(samples)
        ]
        folder.write_trajectories(step, groups)
        folder.append_timeline(
            step, [("learn", "wait", 100.0 + step, 100.5 + step), ("roll out", "generate", 100.0 + step, 100.4 + step)]
        )
        folder.append_metrics(
            {
                "step": step,
                "weight_version": step,
                "lor/reward_mean": 0.1 * step,
                "dtr/reward_mean": None,
                "groups_trained": 3,
                "groups_filtered": 1,
                "num_failures": 0,
                "time/step_s": 2.0,
                "time/wait_s": 0.5,
                "time/push_s": 0.05,
            }
        )
    return folder
