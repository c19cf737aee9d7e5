"""Measures whether asynchronous training hides the shorter half of a step behind the longer one.

    python -m benchmarks.async [--steps 10] [--updates 0.5 1 2]

The trainer, its lanes, the rollout pool and the publisher are the real ones; engines, graders and the learner sleep for
as long as accelerators would work. A response's length is drawn from its seed (log-normal, so a group waits for its
slowest response), an engine has a limited number of places, and a push pauses it. The references are measured in the
same run: generation is a synchronous step of the same loop without a learner, the update is the time of learner and
push. An asynchronous step should take as long as the longer of the two, a synchronous one as long as both together. It
can take less than generation alone, which ends with a wait for the slowest response: that wait overlaps with other
steps.

The first steps, in which the pipeline fills, do not count. `ratio` in the last line is the largest of the asynchronous
runs: a step's wall time divided by the longer half.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from actors.cluster.card_meter import CardTrack
from actors.cluster.tasks import beside
from actors.config import GroupFilterConfig, TrainingConfig
from actors.loop.books import Books
from actors.loop.group_maker import GroupMaker
from actors.loop.lane import make_lanes
from actors.loop.step_record import StepRecorder
from actors.loop.training import Trainer
from actors.phases.rollout_only import NoLearner, NoPublisher
from actors.pool.publisher import WeightPublisher
from actors.pool.rollout_pool import RolloutPool
from actors.pool.waits import Waits
from actors.pool.worker import EnginePort
from actors.run.run_folder import RunFolder
from flow.group import Group
from flow.receipt import PushReceipt
from flow.score import Failure, Score
from flow.trajectory import RolloutRequest, Trajectory, VersionSpan
from rollout.canary import Canary
from rollout.config import HealthConfig, SamplingConfig
from rollout.transfer.client import WeightReceiver
from spatial.sample import ChoiceAnswer, ImageRef, ReasoningPath, SpatialSample

STALENESS = (0, 1, 4)
NUM_WARM_STEPS = 3
NUM_WORKERS = 2
NUM_PLACES = 32
TOKEN_S = 0.01
MEAN_TOKENS, MAX_TOKENS, SPREAD = 56.0, 256, 0.6
GROUPS, GROUP_SIZE = {ReasoningPath.LOR: 16, ReasoningPath.DTR: 16}, 8
PUSH_S = 0.05
HEALTH = HealthConfig(probe_every_s=600)
# Every group counts: how many are filtered out is another matter.
FILTER = GroupFilterConfig(min_mean_reward=-1.0, max_mean_reward=2.0, min_reward_std=None)


class Engine:
    """A rollout worker that sleeps a while for each token; what is in flight during a pause goes on after it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._places = asyncio.Semaphore(NUM_PLACES)
        self._running = asyncio.Event()
        self._running.set()
        self._paused_s = 0.0
        self._paused_since_s = 0.0
        self.version = 0

    async def place(self) -> None: ...

    async def start(self) -> None: ...

    async def probe(self) -> None: ...

    async def card_tracks(self) -> list[CardTrack]:
        return []

    async def stop(self) -> None: ...

    async def kill(self) -> None: ...

    async def pause(self) -> None:
        self._running.clear()
        self._paused_since_s = time.perf_counter()

    async def resume(self) -> None:
        self._paused_s += time.perf_counter() - self._paused_since_s
        self._running.set()

    async def sleep(self) -> float:
        """It has nothing on a card."""
        return 0.0

    async def wake_weights(self) -> None: ...

    async def weight_version(self) -> int:
        return self.version

    async def received_checksums(self) -> list[dict[str, str]]:
        return []

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        return []

    @property
    def receiver(self) -> WeightReceiver:
        raise AssertionError("the learner here sends to the engine itself")

    async def generate(self, request: RolloutRequest) -> Trajectory:
        draw = np.random.default_rng(request.seed).lognormal(np.log(MEAN_TOKENS) - SPREAD**2 / 2, SPREAD)
        num_tokens = int(np.clip(draw, 1, MAX_TOKENS))
        async with self._places:
            version = self.version
            left_s = num_tokens * TOKEN_S
            while left_s > 0:
                await self._running.wait()
                since_s = self._clock_s()
                await asyncio.sleep(left_s)
                left_s -= self._clock_s() - since_s
        return Trajectory.answering(
            request,
            prompt_token_ids=(1,),
            response_token_ids=(5,) * num_tokens,
            rollout_logprobs=(-0.5,) * num_tokens,
            version_spans=(VersionSpan(version, num_tokens),),
            response_text="",
            finish_reason="stop",
            engine=self._name,
        )

    def _clock_s(self) -> float:
        """Time in which this engine was not paused."""
        now_s = time.perf_counter() if self._running.is_set() else self._paused_since_s
        return now_s - self._paused_s


class Graders:
    async def score(self, items: list[tuple[str, ReasoningPath, SpatialSample]]) -> list[Score | Failure]:
        # A group of equal rewards would be left out.
        return [Score(total=0.4 + 0.2 * (number % 2), accuracy=0.5, format=0.5) for number in range(len(items))]


class Learner:
    """Sleeps for an update, and sends to the engines that are connected."""

    def __init__(self, update_s: float) -> None:
        self._update_s = update_s
        self._engines: Sequence[Engine] = ()

    async def update(self, groups: list[Group]) -> Mapping[str, float]:
        await asyncio.sleep(self._update_s)
        return {}

    async def save_checkpoint(self, step: int, loop_state: Mapping[str, object]) -> None: ...

    async def connect(self, engines: Mapping[str, EnginePort]) -> None:
        self._engines = [engine for engine in engines.values() if isinstance(engine, Engine)]

    async def put_away(self) -> float:
        """It has nothing on a card."""
        return 0.0

    async def pack(self, version: int) -> None: ...

    async def push(self, version: int) -> PushReceipt:
        await asyncio.sleep(PUSH_S)
        for engine in self._engines:
            engine.version = version
        return PushReceipt(num_bytes=0, checksums={})

    async def canary_logprobs(self, canary: Canary) -> list[float]:
        return []


@dataclass(frozen=True)
class Measured:
    """Means over the steps that count."""

    step_s: float
    update_s: float
    """Update and push."""
    max_staleness: int
    """The largest that occurred."""


def make_samples() -> list[SpatialSample]:
    return [
        SpatialSample(
            sample_id=f"s{index}",
            domain="benchmark",
            kind="count",
            paths=tuple(GROUPS),
            images=(ImageRef(sha256="0" * 64, width_px=8, height_px=8),),
            question="?",
            answer=ChoiceAnswer(letter="A", num_options=2),
        )
        for index in range(1000)
    ]


async def measure(num_steps: int, max_staleness: int, update_s: float | None) -> Measured:
    """Train for `num_steps` steps that count; `update_s`: None for a run without a learner."""
    ends_s: list[float] = []
    steps: list[Mapping[str, Any]] = []

    def on_step(metrics: Mapping[str, Any]) -> None:
        ends_s.append(time.perf_counter())
        steps.append(metrics)

    pool = RolloutPool(lambda name, number: Engine(name), HEALTH, num_seats=NUM_PLACES, max_attempts=1)
    await pool.start(NUM_WORKERS)
    learner = NoLearner() if update_s is None else Learner(update_s)
    publisher = (
        NoPublisher() if isinstance(learner, NoLearner) else WeightPublisher(learner, pool.roster, max_attempts=1)
    )
    with tempfile.TemporaryDirectory() as root:
        folder = RunFolder(Path(root))
        folder.create()
        config = TrainingConfig(
            num_steps=NUM_WARM_STEPS + num_steps,
            groups_per_step=GROUPS,
            group_size=GROUP_SIZE,
            max_staleness=max_staleness,
            filter=FILTER,
        )
        waits = Waits()
        trainer = Trainer(
            config,
            books=Books(make_lanes(make_samples(), config, seed=0), FILTER),
            groups=GroupMaker(config, SamplingConfig(), pool, Graders(), waits, report=print),
            learner=learner,
            publisher=publisher,
            recorder=StepRecorder(config, folder, on_step),
            waits=waits,
        )
        in_sync = pool.roster.serve_as_loaded() if isinstance(publisher, NoPublisher) else publisher.keep_in_sync()
        async with beside(in_sync):
            async with publisher.exclusive:
                await publisher.publish(0)
            await trainer.run()
    await pool.shutdown()
    return Measured(
        step_s=(ends_s[-1] - ends_s[NUM_WARM_STEPS - 1]) / num_steps,
        update_s=fmean(step["time/update_s"] + step["time/push_s"] for step in steps[NUM_WARM_STEPS:]),
        max_staleness=max(step["staleness_max"] for step in steps),
    )


async def run(num_steps: int, updates: Sequence[float]) -> None:
    generation_s = (await measure(num_steps, 0, None)).step_s
    table = Table(
        "update : generation", "max_staleness", "seen", "step (s)", "longer (s)", "ratio", "both (s)", "ratio",
        title=f"A step of {sum(GROUPS.values())} groups of {GROUP_SIZE}; generation alone takes {generation_s:.2f} s",
    )  # fmt: skip
    ratios: dict[str, dict[str, float]] = {}
    for share in updates:
        ratios[f"{share:g}"] = {}
        for max_staleness in STALENESS:
            found = await measure(num_steps, max_staleness, share * generation_s)
            longer_s, both_s = max(generation_s, found.update_s), generation_s + found.update_s
            ratios[f"{share:g}"][f"max_staleness_{max_staleness}"] = round(found.step_s / longer_s, 3)
            table.add_row(
                f"{share:g} : 1",
                str(max_staleness),
                str(found.max_staleness),
                f"{found.step_s:.2f}",
                f"{longer_s:.2f}",
                f"{found.step_s / longer_s:.3f}",
                f"{both_s:.2f}",
                f"{found.step_s / both_s:.3f}",
            )
    Console(width=120).print(table)
    asynchronous = [ratio for found in ratios.values() for name, ratio in found.items() if name != "max_staleness_0"]
    print(json.dumps({"ratio": max(asynchronous), "ratios": ratios, "generation_s": round(generation_s, 3)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="steps that count, of each run")
    parser.add_argument("--updates", type=float, nargs="+", default=[0.5, 1.0, 2.0], help="times of one generation")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.steps, arguments.updates))
