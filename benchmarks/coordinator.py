"""Measures how many trajectories per second the coordinator takes from the feed to a published version.

    python -m benchmarks.coordinator [--workers 1000] [--trajectories 1000000]

The coordinator is the real one: `Trainer` with its parts, `RolloutPool`, `WeightPublisher`, the deadlines of calls, and
the run's folder, where every response is recorded. Engines, graders and the learner only sleep; a response takes half a
second. Ray's own cost is not included. One in 500 responses cannot be scored, and a few engines die. The reference is
the same number of concurrent groups with the same sleeping engines and graders, but without a coordinator.

CPU time is this process's own, so `trajectories_per_cpu_s` is what one core does that runs nothing else. Memory is the
resident set; its growth is counted from the first 100,000 trajectories on (from the first tenth, if there are fewer
than a million). The last line is JSON.
"""

import argparse
import asyncio
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from actors.cluster.tasks import beside
from actors.config import TrainingConfig
from actors.loop.books import Books
from actors.loop.feed import PromptFeed
from actors.loop.group_maker import GroupMaker
from actors.loop.lane import make_lanes
from actors.loop.step_record import StepRecorder
from actors.loop.training import Trainer
from actors.pool.publisher import WeightPublisher
from actors.pool.rollout_pool import RolloutPool
from actors.pool.waits import Waits
from actors.run.run_folder import RunFolder
from benchmarks.coordinator_parts import Meter, SimulatedLearner, SimulatedRewards, SimulatedWorker, World
from rollout.config import HealthConfig, SamplingConfig
from spatial.sample import ChoiceAnswer, ImageRef, ReasoningPath, SpatialSample

FLOOR_PER_S = 5_000
GROUP_SIZE = 5
NUM_SEATS = 16
MAX_STALENESS = 2
NUM_SAMPLES = 20_000
NUM_REWARD_WORKERS = 64
WARM_UP = 100_000
MB = 2**20


class Cost:
    """Wall and CPU seconds of a block, of this process alone."""

    wall_s = cpu_s = 0.0

    @contextmanager
    def measure(self) -> Iterator[None]:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall_s, self.cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s


class Rig:
    """The coordinator over simulated parts, and its measurements.

    A step takes two groups per worker, one of each path.
    """

    def __init__(self, folder: Path, num_workers: int, num_trajectories: int, bar: Progress) -> None:
        self.world = World(Meter())
        self.num_workers = num_workers
        self.num_trajectories = num_trajectories
        self.cost = Cost()
        self.learner = SimulatedLearner(self.world)
        self.num_filtered = self.num_steps = 0
        self.memory_mb: list[float] = []
        """Resident set after each step since the warm-up."""
        self._bar = bar
        self._task = bar.add_task("coordinator", total=num_trajectories, note="")
        self._folder = RunFolder(folder)
        self._folder.create()

    @property
    def num_groups_at_once(self) -> int:
        return (MAX_STALENESS + 1) * 2 * self.num_workers

    @property
    def memory_growth_mb(self) -> float:
        return max(self.memory_mb) - self.memory_mb[0]

    async def run(self) -> None:
        health = HealthConfig()
        pool = RolloutPool(
            lambda name, number: SimulatedWorker(self.world, name), health, num_seats=NUM_SEATS, max_attempts=3
        )
        publisher = WeightPublisher(self.learner, pool.roster, max_attempts=3)
        config = TrainingConfig(
            num_steps=self.num_trajectories,  # more than are made: the number of trajectories ends the run
            groups_per_step={ReasoningPath.LOR: self.num_workers, ReasoningPath.DTR: self.num_workers},
            group_size=GROUP_SIZE,
            max_staleness=MAX_STALENESS,
        )
        lanes = make_lanes(make_samples(), config, seed=0)
        waits = Waits()
        rewards = SimulatedRewards(self.world, NUM_REWARD_WORKERS)
        groups = GroupMaker(config, SamplingConfig(), pool, rewards, waits, report=lambda message: None)
        self._trainer = Trainer(
            config,
            books=Books(lanes, config.filter),
            groups=groups,
            learner=self.learner,
            publisher=publisher,
            recorder=StepRecorder(config, self._folder, self._after_step),
            waits=waits,
        )
        for lane in lanes.values():
            self.world.meter.count(lane.feed, "requests", "feed")
        self.world.meter.count(pool, "generate", "roll out")
        self.world.meter.count(groups, "make", "score, group")
        self.world.meter.count(self._trainer, "run", "learn")
        self.world.meter.count(self._folder, "write_trajectories", "record")
        self.world.meter.count(publisher, "publish", "publish")
        await pool.start(self.num_workers)
        try:
            async with beside(publisher.keep_in_sync()):
                await publisher.publish(0)
                self.world.meter.spent_s.clear()
                with self.cost.measure():
                    await self._trainer.run()
        finally:
            await pool.shutdown()

    def _after_step(self, metrics: Mapping[str, Any]) -> None:
        self.num_steps += 1
        self.num_filtered += metrics["groups_filtered"]
        num_trained = self.learner.num_trained
        memory_mb = psutil.Process().memory_info().rss / MB
        self._bar.update(self._task, completed=num_trained, note=f"step {self.num_steps}, {memory_mb:.0f} MB")
        if num_trained >= min(WARM_UP, self.num_trajectories // 10):
            self.memory_mb.append(memory_mb)
        if num_trained >= self.num_trajectories:
            self._trainer.stop()


def make_samples() -> list[SpatialSample]:
    image = ImageRef(sha256="0" * 64, width_px=128, height_px=128)
    return [
        SpatialSample(
            sample_id=f"room-{number}",
            domain="room",
            kind="closer_to_camera",
            paths=(ReasoningPath.LOR, ReasoningPath.DTR),
            images=(image,),
            question="Which is closer to the camera? A. red point B. blue point",
            answer=ChoiceAnswer(letter="A", num_options=2),
        )
        for number in range(NUM_SAMPLES)
    ]


async def reference(num_groups: int, num_groups_at_once: int, num_workers: int) -> Cost:
    """The cost of the same number of groups through the same sleeping engines and graders alone."""
    world = World(Meter(), death_share=0)
    workers = itertools.cycle([SimulatedWorker(world, f"rollout-{number}") for number in range(num_workers)])
    rewards = SimulatedRewards(world, NUM_REWARD_WORKERS)
    requests = PromptFeed(make_samples(), ReasoningPath.LOR, seed=0).requests(0, GROUP_SIZE, 1.0, 256)
    items = [(f"{request.seed} …", request.path, request.sample) for request in requests]
    room = asyncio.Semaphore(num_groups_at_once)

    async def one() -> None:
        await asyncio.gather(*map(next(workers).respond, requests))
        await rewards.grade(items)
        room.release()

    cost = Cost()
    with cost.measure():
        async with asyncio.TaskGroup() as tasks:
            for _ in range(num_groups):
                await room.acquire()
                tasks.create_task(one())
    return cost


def report(rig: Rig, plain: Cost, num_plain: int) -> None:
    num_trained = rig.learner.num_trained
    spent_s = rig.world.meter.spent_s
    rest_s = rig.cost.cpu_s - sum(spent_s.values())
    plain_us = plain.cpu_s / num_plain * 1e6
    table = Table("stage", "CPU s", "µs a trajectory", "of the reference", title="Where the time went")
    for stage, seconds in [*spent_s.items(), ("event loop, probes", rest_s), ("all", rig.cost.cpu_s)]:
        each_us = seconds / num_trained * 1e6
        table.add_row(stage, f"{seconds:.2f}", f"{each_us:.1f}", f"{each_us / plain_us:.2f}")
    table.add_row("reference", f"{plain.cpu_s:.2f}", f"{plain_us:.1f}", "1.00")
    console = Console()
    console.print(table)
    load, num_cores = os.getloadavg()[1], os.cpu_count() or 1
    if load > num_cores:
        console.print(f"The machine was busy (load {load:.0f} on {num_cores} cores): trust CPU seconds, not wall time.")
    per_s, per_cpu_s = num_trained / rig.cost.wall_s, num_trained / rig.cost.cpu_s
    console.print(
        f"{num_trained:,} trajectories in {rig.cost.wall_s:.0f} s, {rig.cost.cpu_s:.0f} s of them on a core: "
        f"{per_s:,.0f} a second, {per_cpu_s:,.0f} a CPU second; memory {rig.memory_mb[0]:.0f} MB, "
        f"at most {rig.memory_growth_mb:+.1f}"
    )
    result = {
        "trajectories_per_s": round(per_s),
        "trajectories_per_cpu_s": round(per_cpu_s),
        "ratio": round(per_s / FLOOR_PER_S, 2),
        "memory_growth_mb": round(rig.memory_growth_mb, 1),
        "memory_mb": round(rig.memory_mb[0], 1),
        "reference_per_cpu_s": round(num_plain / plain.cpu_s),
        "workers": rig.num_workers,
        "trajectories": num_trained,
        "groups_filtered": rig.num_filtered,
        "failures": rig.world.num_failures,
        "worker_deaths": rig.world.num_deaths,
        "steps": rig.num_steps,
        "wall_s": round(rig.cost.wall_s, 1),
        "cpu_s": round(rig.cost.cpu_s, 1),
        "cpu_us_by_stage": {stage: round(s / num_trained * 1e6, 1) for stage, s in spent_s.items()},
        # A load above the number of cores means that the machine had other work, and that wall times are too long.
        "load_average": round(load, 1),
        "cores": num_cores,
    }
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1_000, help="simulated rollout workers")
    parser.add_argument("--trajectories", type=int, default=1_000_000, help="to train on")
    arguments = parser.parse_args()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,}/{task.total:,}"))
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), refresh_per_second=2) as bar,
    ):
        rig = Rig(Path(folder), arguments.workers, arguments.trajectories, bar)
        asyncio.run(rig.run())
        num_groups = max(1, arguments.trajectories // 10 // GROUP_SIZE)
        plain = asyncio.run(reference(num_groups, rig.num_groups_at_once, arguments.workers))
    report(rig, plain, num_groups * GROUP_SIZE)


if __name__ == "__main__":
    main()
