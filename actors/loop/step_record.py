"""What is kept of a step: its times while it is made, and its lines in the run's folder once it is complete."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from actors.config import TrainingConfig
from actors.loop.books import Batch
from actors.loop.card_metrics import CardWatch, StepFacts
from actors.loop.filtering import filter_counts
from actors.loop.group_maker import Work
from actors.loop.step_metrics import step_metrics
from actors.run.run_folder import RunFolder
from spatial.json_lines import finite

_LOOPS = {"rollout": ("roll out", "generate"), "score": ("score", "score")}
"""How the timeline names what a `StageClock` measures: the loop, and what it did."""


class StepTimer:
    """When the parts of a step began and ended, by `time.perf_counter`. The step begins when this is made."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._started_s = now()
        self.spans: list[tuple[str, str, float, float]] = []
        """Loop, what, begin and end."""

    @contextmanager
    def part(self, loop: str, what: str) -> Iterator[None]:
        """Time a block in which `loop` does `what`; a block that raises is not kept."""
        started_s = self._now()
        yield
        self.spans.append((loop, what, started_s, self._now()))

    def seconds(self, what: str) -> float:
        return sum(end_s - start_s for _, name, start_s, end_s in self.spans if name == what)

    @property
    def step_s(self) -> float:
        """Since the step began."""
        return self._now() - self._started_s


@dataclass(frozen=True)
class CompleteStep:
    """A step whose weights are published."""

    version: int
    """The weights that it made, which is the step's number."""
    batch: Batch
    work: Work
    timer: StepTimer
    """With the parts "wait", "update" and "push"."""
    measured: Mapping[str, float]
    """What the learner, the push and the validation questions measured."""


class StepRecorder:
    """Writes responses, metrics and the timeline of each step."""

    def __init__(
        self,
        config: TrainingConfig,
        folder: RunFolder,
        on_step: Callable[[Mapping[str, Any]], None],
        cards: CardWatch | None = None,
    ) -> None:
        """
        Args:
            on_step: called with each step's metrics, as they are written.
            cards: asked about each step; None: nothing runs on GPUs.
        """
        self._cards = cards
        self._config = config
        self._folder = folder
        self._on_step = on_step
        self._epoch_s = time.time() - time.perf_counter()

    async def record(self, step: CompleteStep) -> None:
        batch = step.batch
        complete = [*((group, True) for group in batch.trained), *((group, False) for group in batch.filtered)]
        recorded = [entry for entry in complete if self._config.is_recorded(entry[0].index)]
        # In a thread: a step's responses may be many megabytes, and engines want new prompts meanwhile.
        await asyncio.to_thread(self._folder.write_trajectories, step.version, recorded)
        metrics = self._metrics(step)
        if self._cards is not None:
            metrics |= await self._cards.metrics(self._facts(step, metrics))
        metrics = finite(metrics)
        self._folder.append_metrics(metrics)
        self._folder.append_timeline(step.version, self._spans(step))
        self._on_step(metrics)

    def _metrics(self, step: CompleteStep) -> dict[str, object]:
        batch, work, timer = step.batch, step.work, step.timer
        return {
            "step": step.version,
            "weight_version": step.version,
            **step_metrics(batch.trained, batch.filtered, weight_version=step.version - 1),
            **work.counts._asdict(),
            **filter_counts(batch.filtered, self._config.filter),
            **step.measured,
            "groups_reissued": work.num_groups_reissued,
            "rollout_tokens_per_s": work.num_tokens / max(work.stages_s["rollout"], 1e-9),
            "time/wait_s": timer.seconds("wait"),
            "time/rollout_s": work.stages_s["rollout"],
            "time/score_s": work.stages_s["score"],
            "time/update_s": timer.seconds("update"),
            "time/push_s": timer.seconds("push"),
            "time/step_s": timer.step_s,
        }

    def _facts(self, step: CompleteStep, metrics: Mapping[str, Any]) -> StepFacts:
        """What the figures of the cards depend on."""
        spans: dict[str, list[tuple[float, float]]] = {}
        for _, what, start_s, end_s in self._spans(step):
            spans.setdefault(what, []).append((start_s, end_s))
        trained = [trajectory for group in step.batch.trained for trajectory in group.trajectories]
        tflop = metrics.get("gpu/update_tflop")
        return StepFacts(
            step_s=metrics["time/step_s"],
            generate_s=metrics["time/rollout_s"],
            update_s=metrics["time/update_s"],
            num_trained_tokens=sum(len(t.prompt_token_ids) + len(t.response_token_ids) for t in trained),
            num_generated_tokens=step.work.num_tokens,
            update_flops=None if tflop is None else tflop * 1e12,
            spans=spans,
        )

    def _spans(self, step: CompleteStep) -> list[tuple[str, str, float, float]]:
        """What each loop did in a step: loop, what, begin and end in Unix time."""
        stages = ((*_LOOPS[stage], start_s, end_s) for stage, start_s, end_s in step.work.stretches)
        return [
            (loop, what, round(self._epoch_s + start_s, 3), round(self._epoch_s + end_s, 3))
            for loop, what, start_s, end_s in (*step.timer.spans, *stages)
        ]
