"""The demo on one card, from scenes to the figures after reinforcement learning."""

import time
from typing import Any

from benchmarks.gpu.figures import FigureFile
from benchmarks.gpu.machine import Bench, import_all

AIM_S = 180.0
TOY = [
    *("data.num_train_scenes=24", "data.num_validation_scenes=2", "data.num_test_scenes=2", "rollout.num_workers=1"),
    *("learner.sft.steps=2", "training.num_steps=1", "training.groups_per_step={lor: 1, dtr: 1}"),
    *("training.group_size=2", "training.filter={min_mean_reward: -1, max_mean_reward: 2, min_reward_std: null}"),
    *("rollout.sampling.max_response_tokens=16", "evaluation={num_questions: 2, num_samples: 1}"),
]
MARKS = (
    *("lor_accuracy", "dtr_accuracy", "lor_accuracy_greedy", "dtr_accuracy_greedy"),
    *("format_rate", "center_error_m_median", "seconds"),
)


class Demo:
    def __init__(self, bench: Bench, figures: FigureFile) -> None:
        self._bench = bench
        self._figures = figures

    def warm(self) -> None:
        import_all("launch.run.demo", "launch.run.driver", "vlm.policy")

    def close(self) -> None: ...

    def demo(self) -> None:
        from rich.console import Console

        from actors.run.run_folder import RunFolder
        from launch.run.demo import run_demo
        from launch.settings.config import load_config

        run = self._bench.work / "demo"
        overrides = [f"run={run}", *(TOY if self._bench.toy else [])]
        started_s = time.perf_counter()
        run_demo(load_config("demo_gpu" if self._bench.on_gpu else "demo", overrides), Console())
        self._figures.add("demo_gpu", "in all", time.perf_counter() - started_s, "s", reference=AIM_S)
        summary: dict[str, Any] = RunFolder(run).read_summary()
        for phase, title in (("cold_start", "after cold start"), ("rl", "after RL")):
            for mark in MARKS:
                if isinstance(value := summary.get(phase, {}).get(mark), (int, float)):
                    self._figures.add("demo_gpu", f"{title}: {mark}", value)
