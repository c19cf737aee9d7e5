"""What a run does, phase by phase: cold start, evaluation, reinforcement learning. One Ray session serves them all."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from actors.config import ClusterConfig, SessionConfig
from actors.feed import PromptFeed
from actors.halves import NoLearner, NoPublisher, read_groups
from actors.lane import Lane
from actors.learner_worker import LearnerGroup, LearnerSpec
from actors.member import MemberStatus
from actors.publisher import WeightPublisher
from actors.reward_worker import RewardPool
from actors.rollout_pool import RolloutPool
from actors.rollout_worker import RayRolloutWorker, RolloutSpec
from actors.run_folder import RunFolder
from actors.telemetry import Telemetry
from actors.training import Trainer
from actors.waits import Wait, Waits
from evaluation.evaluate import EvaluationResult, evaluate, same_questions
from learner.checkpoint import read_trainer_state
from learner.config import LearnerConfig
from learner.correction import describe_correction
from rewards.custom import load_reward
from spatial.dataset import load_samples
from spatial.images import ImageStore
from spatial.sample import Path, SpatialSample

# Optimiser steps of the cold start between two looks at how far it is.
_COLD_START_CHUNK = 10


@dataclass
class Progress:
    """How far the run is, for whoever watches."""

    phase: str = "starting"
    done: int = 0
    total: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    """The latest step's."""


@dataclass(frozen=True)
class RunStatus:
    """A run at a glance."""

    progress: Progress
    version: int | None
    """The published weights; None before reinforcement learning."""
    workers: list[MemberStatus]
    num_reissued: int
    """Responses that were asked for again because their worker left."""
    correction: str
    """Which off-policy correction is on, in words."""
    waits: list[Wait]
    """Who waits for whom, the longest first."""
    warnings: list[str]
    """Waits that lasted too long, since the run began."""


class Session:
    """The parts of a run and the phases that use them. Holds no tensors."""

    def __init__(self, config: SessionConfig, folder: RunFolder, resolved: Mapping[str, object]) -> None:
        self._config = config
        self._folder = folder
        self._resolved = resolved
        self._rollouts: RolloutPool | None = None
        self._learner: LearnerGroup | None = None
        self._trainer: Trainer | None = None
        self._stopping = False
        self._waits = Waits()
        self._warnings: list[str] = []
        self.progress = Progress()

    # -- phases ------------------------------------------------------------------------------------------------------

    async def cold_start(self, checkpoint: FilePath, resume_from: FilePath | None) -> dict[str, object]:
        """Teach `checkpoint` the true responses of the training samples, and mark the result on held-out questions.

        `resume_from`: a checkpoint of a cold start that was stopped, with the same settings.
        """
        started_s = time.perf_counter()
        config = self._config.learner
        self._begin("cold start: loading", 0)
        learner, rollouts = await asyncio.gather(
            self._start_learner(
                config.for_cold_start(),
                checkpoint,
                None,
                total_steps=config.sft.steps,
                checkpoints=self._folder.cold_start_checkpoints,
            ),
            self._start_rollouts(checkpoint),
        )
        num_responses = await learner.load_chains(self._folder.data / "train.jsonl", self._config.max_bad_share)
        losses: list[float] = []
        earlier_s = 0.0
        if resume_from is not None:
            await learner.load_checkpoint(resume_from)
            state = read_trainer_state(resume_from)
            losses, earlier_s = list(state["losses"]), state["seconds"]
        self._folder.truncate_cold_start_metrics(len(losses))
        self._begin("cold start", config.sft.steps)
        while len(losses) < config.sft.steps and not self._stopping:
            steps = await learner.cold_start_steps(len(losses), min(_COLD_START_CHUNK, config.sft.steps - len(losses)))
            self._folder.append_cold_start_metrics(
                {"step": number, **step} for number, step in enumerate(steps, start=len(losses) + 1)
            )
            losses += [step["loss"] for step in steps]
            self._advance(len(losses), steps[-1])
            is_due = len(losses) % config.sft.checkpoint_every < len(steps)
            if is_due or self._stopping:
                seconds = earlier_s + time.perf_counter() - started_s
                await learner.save_checkpoint(len(losses), {"losses": losses, "seconds": seconds})
        if self._stopping:
            return {"stopped_at_step": len(losses)}
        await learner.export(self._folder.cold_start_model)
        publisher = WeightPublisher(learner, rollouts, self._config.training.max_attempts)
        async with _beside(publisher.keep_in_sync()):
            async with publisher.exclusive:
                await publisher.publish(0)
            result = await self._evaluate("cold start: held-out questions")
        self._folder.write_evaluation("cold_start", result.judged)
        learner.shutdown()
        summary = summarise(result, earlier_s + time.perf_counter() - started_s) | {
            "loss": losses[:: max(1, len(losses) // 200)],
            "num_responses": num_responses,
            "num_steps": len(losses),
        }
        self._folder.write_summary("cold_start", summary)
        return summary

    async def train(self, checkpoint: FilePath, resume_from: FilePath | None) -> dict[str, object]:
        """Reinforcement learning from `checkpoint`, or on from a training checkpoint; marks at the end.

        `checkpoint` is the reference of the KL penalty either way.
        """
        started_s = time.perf_counter()
        self._begin("RL: loading", 0)
        config = self._config
        steps = config.training.num_steps * config.learner.optimizer_steps_per_batch
        rewards = self._reward_pool()
        learner, rollouts, _ = await asyncio.gather(
            self._start_learner(config.learner, checkpoint, checkpoint, total_steps=steps),
            self._start_rollouts(checkpoint),
            rewards.start(),
        )
        publisher = WeightPublisher(learner, rollouts, config.training.max_attempts)
        telemetry = Telemetry(config.telemetry, self._folder.root.name, self._folder.root, self._resolved)

        def on_step(metrics: Mapping[str, Any]) -> None:
            telemetry.log(metrics)
            self._advance(metrics["step"], metrics)

        self._trainer = Trainer(
            config.training,
            config.rollout.sampling,
            lanes=self._lanes(),
            rollouts=rollouts,
            rewards=rewards,
            learner=learner,
            publisher=publisher,
            folder=self._folder,
            on_step=on_step,
            waits=self._waits,
        )
        if resume_from is not None:
            await learner.load_checkpoint(resume_from)
            self._trainer.restore(read_trainer_state(resume_from))
            self._folder.truncate_metrics(self._trainer.version)
        async with _beside(publisher.keep_in_sync()):
            # What the engines hold is unknown (the first weights, or another phase's): nothing is generated before.
            async with publisher.exclusive:
                await publisher.publish(self._trainer.version)
            self._begin("RL", config.training.num_steps)
            if not self._stopping:
                await self._trainer.run()
            telemetry.close()
            if self._stopping:
                return {"stopped_at_step": self._trainer.version}
            await learner.export(self._folder.final_model)
            result = await self._evaluate("RL: held-out questions")
        self._folder.write_evaluation("rl", result.judged)
        learner.shutdown()
        summary = summarise(result, time.perf_counter() - started_s)
        self._folder.write_summary("rl", summary)
        return summary

    async def evaluate(self, checkpoint: FilePath) -> dict[str, object]:
        """Mark `checkpoint` on held-out questions."""
        started_s = time.perf_counter()
        self._begin("loading engines", 0)
        rollouts = await self._start_rollouts(checkpoint)
        async with _beside(rollouts.serve_as_loaded()):
            result = await self._evaluate("held-out questions")
        return summarise(result, time.perf_counter() - started_s)

    async def rollout_only(self, checkpoint: FilePath) -> None:
        """The training loops without a learner: the same weights answer every step. Trajectories are recorded."""
        self._begin("rollout only: loading engines", 0)
        rewards = self._reward_pool()
        rollouts, _ = await asyncio.gather(self._start_rollouts(checkpoint), rewards.start())
        self._trainer = Trainer(
            self._config.training,
            self._config.rollout.sampling,
            lanes=self._lanes(),
            rollouts=rollouts,
            rewards=rewards,
            learner=NoLearner(),
            publisher=NoPublisher(),
            folder=self._folder,
            on_step=lambda metrics: self._advance(metrics["step"], metrics),
            waits=self._waits,
        )
        self._begin("rollout only", self._config.training.num_steps)
        async with _beside(rollouts.serve_as_loaded()):
            await self._trainer.run()

    async def learner_only(self, checkpoint: FilePath, recorded: FilePath) -> list[dict[str, float]]:
        """Updates on recorded trajectories, without engines; one update a recorded step. Returns their metrics."""
        self._begin("learner only: loading model", 0)
        learner = await self._start_learner(self._config.learner, checkpoint, checkpoint, total_steps=1)
        samples = {sample.sample_id: sample for sample in self._samples("train")}
        files = sorted(recorded.glob("step-*.jsonl"))
        self._begin("learner only", len(files))
        metrics = []
        for number, file in enumerate(files, start=1):
            metrics.append(await learner.update(read_groups(file, samples)))
            self._advance(number, metrics[-1])
        learner.shutdown()
        return metrics

    async def export(self, base: FilePath, checkpoint: FilePath, target: FilePath) -> None:
        """Write a training checkpoint as a plain Hugging Face folder; `base` has its configuration and processor."""
        self._begin("export", 0)
        learner = await self._start_learner(self._config.learner, base, None, total_steps=1)
        await learner.load_checkpoint(checkpoint)
        await learner.export(target)
        learner.shutdown()

    def stop(self) -> None:
        """End soon, after a checkpoint."""
        self._stopping = True
        if self._trainer is not None:
            self._trainer.stop()

    async def shutdown(self) -> None:
        """End every worker and its processes."""
        if self._rollouts is not None:
            await self._rollouts.shutdown()

    def scale(self, num_rollouts: int) -> list[MemberStatus]:
        """Grow or shrink the rollout pool to so many workers; returns at once with the states of all.

        Raises:
            ValueError: outside rollout.min_workers and max_workers, or before there is a pool.
        """
        config = self._config.rollout
        if self._rollouts is None:
            raise ValueError(f"the run has no rollout workers yet: it is at '{self.progress.phase}'")
        if not config.min_workers <= num_rollouts <= config.max_workers:
            raise ValueError(
                f"{num_rollouts} rollout workers: the run's config allows rollout.min_workers={config.min_workers} to "
                f"max_workers={config.max_workers}"
            )
        self._rollouts.scale(num_rollouts)
        return self._rollouts.status()

    def status(self) -> RunStatus:
        return RunStatus(
            progress=self.progress,
            version=self._trainer.version if self._trainer is not None else None,
            workers=self._workers(),
            num_reissued=self._rollouts.num_reissued if self._rollouts is not None else 0,
            correction=describe_correction(self._config.learner),
            waits=self._waits.current(),
            warnings=list(self._warnings),
        )

    async def watch(self) -> None:
        """For ever: note waits that last too long, for whoever watches."""
        await self._waits.watch(
            self._config.cluster.deadlines.patience_s,
            lambda: "; ".join(map(str, self._workers())) or "none",
            self._warnings.append,
        )

    def _workers(self) -> list[MemberStatus]:
        return self._rollouts.status() if self._rollouts is not None else []

    # -- parts -------------------------------------------------------------------------------------------------------

    async def _start_rollouts(self, checkpoint: FilePath) -> RolloutPool:
        """The engines: started once, later phases push their weights into them."""
        if self._rollouts is None:
            config = self._config
            spec = RolloutSpec(checkpoint, self._folder.images, config.prompt, config.rollout)
            self._rollouts = RolloutPool(
                lambda name, number: RayRolloutWorker(spec, name, number, config.cluster.deadlines),
                config.rollout.health,
                config.training.max_attempts,
                self._waits,
            )
            await self._rollouts.start(config.rollout.num_workers)
        return self._rollouts

    async def _start_learner(
        self,
        config: LearnerConfig,
        checkpoint: FilePath,
        reference: FilePath | None,
        total_steps: int,
        checkpoints: FilePath | None = None,
    ) -> LearnerGroup:
        spec = LearnerSpec(
            config=config,
            checkpoint=checkpoint,
            reference=reference,
            images=self._folder.images,
            prompt=self._config.prompt,
            checkpoints=checkpoints or self._folder.checkpoints,
            keep_checkpoints=self._config.training.keep_checkpoints,
            total_steps=total_steps,
            num_threads=_learner_threads(self._config.cluster, config.num_ranks),
        )
        self._learner = LearnerGroup(spec, self._config.cluster, self._config.rollout.engine)
        await self._learner.start()
        return self._learner

    def _reward_pool(self) -> RewardPool:
        cluster = self._config.cluster
        return RewardPool(
            self._config.rewards,
            num_workers=cluster.num_reward_workers,
            cpus=cluster.reward_worker_cpus,
            deadlines=cluster.deadlines,
            max_attempts=self._config.training.max_attempts,
        )

    def _lanes(self) -> dict[Path, Lane]:
        training = self._config.training
        samples = self._samples("train")
        lanes = {}
        for path, quota in training.groups_per_step.items():
            if quota:
                wanted = [s for s in samples if s.kind in training.kinds.get(path, (s.kind,))]
                lanes[path] = Lane(
                    feed=PromptFeed(wanted, path, self._config.seed),
                    quota=quota,
                    max_staleness=training.max_staleness,
                    max_filtered=training.filter.max_rounds * quota,
                )
        return lanes

    def _samples(self, split: str) -> tuple[SpatialSample, ...]:
        file = self._folder.data / f"{split}.jsonl"
        return tuple(load_samples(file, ImageStore(self._folder.images), self._config.max_bad_share).samples)

    async def _evaluate(self, title: str) -> EvaluationResult:
        assert self._rollouts is not None
        config = self._config
        self._begin(title, 0)
        return await evaluate(
            self._samples("test"),
            self._rollouts.generate,
            load_reward(config.rewards),
            config.evaluation,
            temperature=config.rollout.sampling.temperature,
            max_response_tokens=config.rollout.sampling.max_response_tokens,
            on_progress=lambda done, total: self._advance(done, {}, total),
        )

    def _begin(self, phase: str, total: int) -> None:
        self.progress = Progress(phase=phase, total=total)

    def _advance(self, done: int, metrics: Mapping[str, object], total: int | None = None) -> None:
        self.progress.done = done
        self.progress.metrics = dict(metrics)
        if total is not None:
            self.progress.total = total


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work`, which has no end of its own, for as long as the block runs; its failure ends the block."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        try:
            yield
        finally:
            task.cancel()


def _learner_threads(cluster: ClusterConfig, num_ranks: int) -> int | None:
    """CPU threads of a rank: as set, else a fair share of this machine's cores, else (on GPUs) PyTorch's choice."""
    if cluster.learner_threads is not None or cluster.learner_rank_gpus:
        return cluster.learner_threads
    return max(1, len(os.sched_getaffinity(0)) // num_ranks)


def summarise(result: EvaluationResult, seconds: float) -> dict[str, object]:
    """One phase's part of `summary.json`."""
    lor, dtr, direct = (result.paths.get(path) for path in (Path.LOR, Path.DTR, Path.DIRECT))
    present = [marks for marks in (lor, dtr, direct) if marks is not None]
    return {
        "lor_accuracy": lor and lor.accuracy,
        "dtr_accuracy": dtr and dtr.accuracy,
        "direct_accuracy": direct and direct.accuracy,
        "lor_accuracy_greedy": lor and lor.accuracy_greedy,
        "dtr_accuracy_greedy": dtr and dtr.accuracy_greedy,
        "direct_accuracy_greedy": direct and direct.accuracy_greedy,
        "lor_reward": lor and lor.reward,
        "dtr_reward": dtr and dtr.reward,
        "format_rate": sum(marks.format_rate for marks in present) / len(present),
        "center_error_m_median": dtr and dtr.center_error_m_median,
        "same_questions": same_questions(result.judged),
        "seconds": seconds,
        "paths": result.as_dict(),
    }
