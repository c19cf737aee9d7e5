"""Steps of the whole loop on one card, as a preset has them: coordinator, learner, engine and reward workers.

The loop runs in a process of its own, below this one, and is killed after the last step that counts: its last
checkpoint and its held-out questions are not to be waited for.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks.gpu.figures import FigureFile
from benchmarks.gpu.machine import Bench, import_all

NUM_STEPS = 3
"""The first does not count."""
AIMS = {"seconds": 45.0, "tokens_per_s": 7500.0, "mfu": 0.3}
PRESET = "qwen3vl_2b_1gpu"
# The reward is chance: every group counts. Its last checkpoint and its held-out questions would take longer than it.
MEASURED = [
    *("training.groups_per_step={dtr: 64}", "training.group_size=8", "rollout.sampling.max_response_tokens=300"),
    *("training.filter={min_mean_reward: -1, max_mean_reward: 2}", "rewards.custom=benchmarks.gpu.reward:by_chance"),
    *("training.num_steps=1000", "training.checkpoint_every=1000", "training.evaluate_every=0"),
    *("training.record_share=0", "prompt.instructions=short", "telemetry.wandb=off"),
]
TOY = [
    *("training.groups_per_step={dtr: 2}", "training.group_size=2", "rollout.sampling.max_response_tokens=8"),
    "learner.deepspeed={zero_stage: 0, micro_batch_rows: 8, micro_batch_tokens: null, dtype: float32}",
    "rollout.engine={dtype: float32, max_model_len: 256, max_num_seqs: 16, enforce_eager: true}",
    *("rollout.cpus_per_worker=1", "cluster.learner_rank_cpus=0.5", "cluster.num_reward_workers=1"),
]
NO_CARD = ["cluster.layout={type: split}", "rollout.engine.transfer={type: gloo}"]


class SharedStep:
    """Learner and engine side by side in the card's memory."""

    layout = "shared"
    card_settings: tuple[str, ...] = ("cluster.layout={type: shared}", "rollout.engine.gpu_memory_utilization=0.3")

    def __init__(self, bench: Bench, figures: FigureFile) -> None:
        self._bench = bench
        self._figures = figures
        self._run = bench.work / f"run-{self.layout.split()[-1]}"
        self._log = bench.out / "logs" / f"{self._run.name}.log"
        self._loop: subprocess.Popen[bytes] | None = None

    def warm(self) -> None:
        command = [sys.executable, "-m", "benchmarks.gpu.step"]
        with self._log.open("wb") as log:
            self._loop = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        import_all("benchmarks.gpu.models")

    def step(self) -> None:
        assert self._loop is not None
        assert self._loop.stdin is not None
        model = self._prepare()
        order = {"overrides": self._settings(model), "model": str(model)}
        started_s = time.perf_counter()
        self._loop.stdin.write(json.dumps(order).encode() + b"\n")
        self._loop.stdin.close()
        for number in range(1, NUM_STEPS + 1):
            metrics = self._await_step(number)
            if number == 1:
                self._add("until the first step has ended", time.perf_counter() - started_s, "s")
            else:
                self._report(metrics, f"step {number}")

    def _prepare(self) -> Path:
        """The model and the data."""
        import torch

        from benchmarks.gpu import models
        from benchmarks.gpu.asked import make_samples
        from spatial.images import ImageStore
        from spatial.whole_files import write_whole

        bench = self._bench
        shape = models.QWEN3_VL_TOY if bench.toy else models.QWEN3_VL_2B
        dtype = torch.bfloat16 if bench.on_gpu else torch.float32
        model = models.build_model(bench.work / shape.name, shape, dtype, "cpu")
        data = bench.work / "data"
        images = ImageStore(data / "images")
        for split, number in (("train", 4 if bench.toy else 128), ("validation", 1), ("test", 1)):
            samples = make_samples(images, number, shape.image_px, 2, seed=len(split))
            write_whole(data / f"{split}.jsonl", "".join(sample.model_dump_json() + "\n" for sample in samples))
        return model

    def _settings(self, model: Path) -> list[str]:
        ours = [f"run={self._run}", f"model.path={model}", f"data.folder={self._bench.work / 'data'}"]
        ours += [*MEASURED, *(TOY if self._bench.toy else [])]
        return [*ours, *(self.card_settings if self._bench.on_gpu else NO_CARD)]

    def _await_step(self, number: int) -> Mapping[str, Any]:
        """The metrics of a step, once there are any."""
        assert self._loop is not None
        file = self._run / "metrics.jsonl"
        while True:
            lines = file.read_text().splitlines() if file.exists() else []
            if len(lines) >= number:
                return dict(json.loads(lines[number - 1]))
            if self._loop.poll() is not None:
                last = " ".join(self._log.read_text().splitlines()[-4:])
                raise RuntimeError(f"the run ended before step {number}: {last}")
            time.sleep(0.1)

    def _report(self, metrics: Mapping[str, Any], note: str) -> None:
        step_s = metrics["time/step_s"]
        self._add("a step", step_s, "s", AIMS["seconds"], note)
        for name in ("rollout", "update", "push", "pack", "score"):
            if (seconds := metrics.get(f"time/{name}_s")) is not None:
                self._add(f"share of {name}", seconds / step_s, "", note=f"{note}, {seconds:.2f} s")
        if "gpu/tokens_per_s" in metrics:
            self._add("tokens", metrics["gpu/tokens_per_s"], "tokens/s", AIMS["tokens_per_s"], note)
        if "gpu/mfu" in metrics:
            self._add("MFU of updates", metrics["gpu/mfu"], "", AIMS["mfu"], note)
        for name, value in metrics.items():
            if name in ("kl_rollout_learner", "canary_difference", "time/rollout_pause_s") or name.startswith(
                ("gpu/busy", "gpu/memory", "gpu/generate", "gpu/update")
            ):
                self._add(name, value, "", note=note)

    def _add(self, name: str, value: float, unit: str, reference: float | None = None, note: str = "") -> None:
        self._figures.add("step", f"{self.layout}: {name}", value, unit, reference=reference, note=note)

    def close(self) -> None:
        if self._loop is None or self._loop.poll() is not None:
            return
        # Ray's daemons would outlive it.
        family = [*psutil.Process(self._loop.pid).children(recursive=True), psutil.Process(self._loop.pid)]
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=10)


class SleepingStep(SharedStep):
    """The two take turns: engines sleep while the learner works."""

    layout = "shared, sleep"
    card_settings: tuple[str, ...] = ("cluster.layout={type: shared, sleep: true}",)


def _run_loop() -> None:
    """Train as told in a line on standard input."""
    from rich.console import Console

    from launch.run.driver import Driver
    from launch.run.ready import Needs
    from launch.settings.config import load_config

    if not (line := sys.stdin.readline()):
        return
    order = json.loads(line)
    config = load_config(PRESET, order["overrides"])
    # Without phases: room on the disk for checkpoints is not needed.
    with Driver(config, Console(), Needs()) as run:
        run.train(Path(order["model"]))


if __name__ == "__main__":
    _run_loop()
