"""A small run's folder, written as a run writes it."""

from pathlib import Path

import numpy as np

from actors.run.run_folder import RunFolder
from benchmarks.recording import KINDS, make_group, make_sample
from flow.score import Failure
from spatial.images import ImageStore
from spatial.sample import ReasoningPath

SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def failures_of(index: int) -> tuple[Failure, ...]:
    """The last of a step's groups has lost a member."""
    return (Failure("rollout", "ran out of luck", 3),) if index == 3 else ()


def write_run(root: Path, num_steps: int = 3, think: str = "so") -> RunFolder:
    """Each step: four groups, of both kinds through both paths; the mean reward of a group is a tenth of its index."""
    folder = RunFolder(root)
    folder.create()
    image = ImageStore(folder.images).put(np.full((64, 64, 3), 120, np.uint8))
    samples = [make_sample(image, kind, path) for path in (ReasoningPath.LOR, ReasoningPath.DTR) for kind in KINDS]
    for step in range(1, num_steps + 1):
        groups = [
            (make_group(sample, index, step, [index / 10, index / 10], think, failures_of(index)), index != 2)
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
