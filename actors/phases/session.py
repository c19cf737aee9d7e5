"""What a run does, phase by phase: cold start, evaluation, reinforcement learning. One Ray session serves them all."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.cluster.tasks import beside
from actors.config import SessionConfig
from actors.loop.lane import make_lanes
from actors.loop.training import Trainer
from actors.loop.validation import make_validation
from actors.phases.cold_start import ColdStartSteps
from actors.phases.halves import NoLearner, NoPublisher, read_groups
from actors.phases.parts import make_learner, make_publisher, make_reward_pool, make_rollouts, samples_of
from actors.pool.member import MemberStatus
from actors.pool.rollout_pool import RolloutPool
from actors.pool.scaling import Steer, first_size, follow_load, make_scaling, scale_pool, steer_pool
from actors.pool.waits import Waits
from actors.run.run_folder import RunFolder
from actors.run.status import Progress, RunStatus, Warnings
from actors.run.telemetry import Telemetry
from actors.workers.learner_group import LearnerGroup, LearnerLostError
from actors.workers.reward_worker import RewardPool
from evaluation.config import EvaluationConfig
from evaluation.exam import Exam
from evaluation.held_out import evaluate, questions_of
from evaluation.held_out_report import HeldOutReport, summary_of
from evaluation.responses import Response, Responses, Sampling, ask
from learner.checkpoint_store import newest_whole, read_trainer_state
from learner.config import LearnerConfig
from learner.correction import describe_correction
from rewards.custom import load_reward
from rollout.errors import cause_of
from spatial.sample import SpatialSample


class Session:
    """The parts of a run and the phases that use them. Holds no tensors."""

    def __init__(self, config: SessionConfig, folder: RunFolder, resolved: Mapping[str, object]) -> None:
        self._config = config
        self._folder = folder
        self._resolved = resolved
        self._rollouts: RolloutPool | None = None
        self._learner: LearnerGroup | None = None
        self._trainer: Trainer | None = None
        self._phase: asyncio.Task[Any] | None = None
        self._saves = False
        """The phase that is under way ends by itself when asked to, after a checkpoint."""
        self.is_stopping = False
        self._waits = Waits()
        self._scaling = make_scaling(config.rollout)
        self._warnings = Warnings()
        self.progress = Progress()

    # -- phases ------------------------------------------------------------------------------------------------------

    async def cold_start(self, checkpoint: Path, resume_from: Path | None) -> dict[str, object]:
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
        steps = ColdStartSteps(config.sft, learner, self._folder, started_s)
        num_responses = await learner.load_chains(
            self._folder.data / "train.jsonl", self._config.max_bad_share, self._folder.left_out_of("train")
        )
        await steps.restore(resume_from)
        self._begin("cold start", config.sft.steps, saves=True)
        await steps.run(lambda: self.is_stopping, self._advance)
        if self.is_stopping:
            return {"stopped_at_step": len(steps.losses)}
        await learner.export(self._folder.cold_start_model)
        publisher = make_publisher(self._config, self._folder, learner, rollouts)
        async with beside(publisher.keep_in_sync()):
            async with publisher.exclusive:
                await publisher.publish(0)
            result = await self._evaluate("cold start: held-out questions")
        self._folder.write_evaluation("cold_start", result.responses)
        learner.shutdown()
        summary = summary_of(result, steps.seconds) | {
            "loss": steps.losses[:: max(1, len(steps.losses) // 200)],
            "num_responses": num_responses,
            "num_steps": len(steps.losses),
        }
        self._folder.write_summary("cold_start", summary)
        return summary

    async def train(self, checkpoint: Path, resume_from: Path | None, exams: Sequence[Exam]) -> dict[str, object]:
        """Reinforcement learning from `checkpoint`, which is the reference of the KL penalty too, or on from a training
        checkpoint; marks at the end. `exams` are asked now and then."""
        started_s = time.perf_counter()
        self._begin("RL: loading", 0)
        rewards = make_reward_pool(self._config, self._warnings.add)
        telemetry = await Telemetry.begin(self._config.telemetry, self._folder, self._resolved, self._warnings.add)

        def on_step(metrics: Mapping[str, Any]) -> None:
            telemetry.log(metrics)
            self._advance(metrics["step"], metrics)
            if self._scaling is not None and self._rollouts is not None:
                follow_load(self._scaling, self._rollouts, metrics, self._warnings.add)

        # Once, however often the learner is started.
        engines = asyncio.ensure_future(self._start_rollouts(checkpoint, resume_from))
        graders = asyncio.ensure_future(rewards.start())
        for restarts_left in reversed(range(self._config.training.max_learner_restarts + 1)):
            try:
                result = await self._reinforce(checkpoint, resume_from, engines, graders, rewards, exams, on_step)
                break
            except* LearnerLostError as lost:
                if self.is_stopping or not restarts_left:
                    raise
                resume_from = await self._fall_back(cause_of(lost))
        await telemetry.close()
        if result is None:
            return {"stopped_at_step": self._trainer.version if self._trainer else 0}
        self._folder.write_evaluation("rl", result.responses)
        summary = summary_of(result, time.perf_counter() - started_s)
        self._folder.write_summary("rl", summary)
        return summary

    async def _reinforce(
        self,
        checkpoint: Path,
        resume_from: Path | None,
        engines: Awaitable[RolloutPool],
        graders: Awaitable[None],
        rewards: RewardPool,
        exams: Sequence[Exam],
        on_step: Callable[[Mapping[str, Any]], None],
    ) -> HeldOutReport | None:
        """Train with a learner of its own, from a checkpoint on; None when stopped.

        Raises:
            ExceptionGroup: of `LearnerLostError`, when a rank died or hung; the engines and graders stay.
        """
        config = self._config
        steps = config.training.num_steps * config.steps_per_update
        learner, rollouts, _ = await asyncio.gather(
            self._start_learner(config.learner, checkpoint, checkpoint, total_steps=steps), engines, graders
        )
        publisher = make_publisher(self._config, self._folder, learner, rollouts)
        self._trainer = trainer = Trainer(
            config.training,
            config.rollout.sampling,
            lanes=make_lanes(self._samples("train"), config.training, config.seed),
            rollouts=rollouts,
            rewards=rewards,
            learner=learner,
            publisher=publisher,
            folder=self._folder,
            on_step=on_step,
            waits=self._waits,
            report=self._warnings.add,
            validation=make_validation(
                config, self._samples("validation"), exams, rollouts.generate, self._warnings.add
            ),
        )
        if resume_from is not None:
            await learner.load_checkpoint(resume_from)
            trainer.restore(read_trainer_state(resume_from))
            self._folder.truncate_metrics(trainer.version)
        try:
            async with beside(publisher.keep_in_sync()):
                # What the engines hold is unknown (their first weights, or another phase's, or younger ones).
                async with publisher.exclusive:
                    await publisher.publish(trainer.version)
                self._begin("RL", config.training.num_steps, saves=True)
                if not self.is_stopping:
                    await trainer.run()
                if self.is_stopping:
                    return None
                await learner.export(self._folder.final_model)
                return await self._evaluate("RL: held-out questions")
        finally:
            learner.shutdown()

    async def _fall_back(self, lost: BaseException) -> Path | None:
        """The checkpoint to go on from without the lost learner; None: from the beginning. Says what is done again."""
        resume_from, faults = await asyncio.to_thread(newest_whole, self._folder.checkpoints)  # slow
        for fault in faults:
            self._warnings.add(f"passed over: {fault}")
        last_step = read_trainer_state(resume_from)["step"] if resume_from else 0
        reached = self._trainer.version if self._trainer else 0
        self._warnings.add(f"{lost}; a new learner goes on from step {last_step}: {reached - last_step} are repeated")
        self._begin("RL: a new learner", 0)
        self._folder.truncate_metrics(last_step)
        return resume_from

    async def evaluate(
        self, checkpoint: Path, samples: Sequence[SpatialSample], config: EvaluationConfig, images: Path
    ) -> Responses[Response]:
        """What `checkpoint` answers to `samples`, whose images are in the store `images`."""
        self._begin("loading engines", 0)
        if self._rollouts is not None:  # with the weights of a checkpoint before, and without a learner to push others
            await self._rollouts.shutdown()
            self._rollouts = None
        rollouts = await self._start_rollouts(checkpoint, images=images)
        self._begin(f"questions to {checkpoint.name}", 0)
        async with beside(rollouts.serve_as_loaded()):
            sampling = self._sampling(config)
            return await ask(questions_of(samples, config), rollouts.generate, Response.of, sampling, self._show_asked)

    async def rollout_only(self, checkpoint: Path) -> None:
        """The training loops without a learner: the same weights answer every step. Trajectories are recorded."""
        self._begin("rollout only: loading engines", 0)
        rewards = make_reward_pool(self._config, self._warnings.add)
        rollouts, _ = await asyncio.gather(self._start_rollouts(checkpoint), rewards.start())
        self._trainer = Trainer(
            self._config.training,
            self._config.rollout.sampling,
            lanes=make_lanes(self._samples("train"), self._config.training, self._config.seed),
            rollouts=rollouts,
            rewards=rewards,
            learner=NoLearner(),
            publisher=NoPublisher(),
            folder=self._folder,
            on_step=lambda metrics: self._advance(metrics["step"], metrics),
            waits=self._waits,
            report=self._warnings.add,
        )
        self._begin("rollout only", self._config.training.num_steps, saves=True)
        async with beside(rollouts.serve_as_loaded()):
            await self._trainer.run()

    async def learner_only(self, checkpoint: Path, recorded: Path) -> list[dict[str, float]]:
        """Updates on recorded trajectories, without engines; one update a recorded step. Returns their metrics."""
        self._begin("learner only: loading model", 0)
        files = sorted(recorded.glob("step-*.jsonl"))
        steps = len(files) * self._config.steps_per_update
        learner = await self._start_learner(self._config.learner, checkpoint, checkpoint, total_steps=steps)
        samples = {sample.sample_id: sample for sample in self._samples("train")}
        self._begin("learner only", len(files))
        metrics = []
        for number, file in enumerate(files, start=1):
            metrics.append(await learner.update(read_groups(file, samples)))
            self._advance(number, metrics[-1])
        learner.shutdown()
        return metrics

    async def export(self, base: Path, checkpoint: Path, target: Path) -> None:
        """Write a training checkpoint as a plain Hugging Face folder; `base` has its configuration and processor."""
        self._begin("export", 0)
        learner = await self._start_learner(self._config.learner, base, None, total_steps=1)
        await learner.load_checkpoint(checkpoint)
        await learner.export(target)
        learner.shutdown()

    def stop(self) -> None:
        """End soon: after a checkpoint where there is training to keep, else at once (loading, questions)."""
        self.is_stopping = True
        if self._trainer is not None:
            self._trainer.stop()
        if self._phase is not None and not self._saves:
            self._phase.cancel()

    async def shutdown(self) -> None:
        """End every worker and its processes."""
        if self._rollouts is not None:
            await self._rollouts.shutdown()

    def scale(self, num_rollouts: int) -> list[MemberStatus]:
        """Grow or shrink the rollout pool to so many workers; returns at once with the states of all.

        Raises:
            ValueError: outside rollout.min_workers and max_workers, or before there is a pool.
        """
        scale_pool(self._pool_now(), self._config.rollout, num_rollouts)
        return self._workers()

    def steer(self, what: Steer, worker: str) -> None:
        """Let a rollout worker go when it has finished, or put another in its place now.

        Raises:
            ValueError: there is no such worker, or the pool would be smaller than rollout.min_workers.
        """
        steer_pool(self._pool_now(), self._config.rollout, what, worker)

    def _pool_now(self) -> RolloutPool:
        if self._rollouts is None:
            raise ValueError(f"the run has no rollout workers yet: it is at '{self.progress.phase}'")
        return self._rollouts

    def status(self) -> RunStatus:
        return RunStatus(
            progress=self.progress,
            version=self._trainer.version if self._trainer is not None else None,
            workers=self._workers(),
            num_reissued=self._rollouts.num_reissued if self._rollouts is not None else 0,
            correction=describe_correction(self._config.learner),
            waits=self._waits.current(),
            num_warnings=self._warnings.count,
            warnings=list(self._warnings.latest),
        )

    async def watch(self) -> None:
        """For ever: note waits that last too long, for whoever watches."""
        await self._waits.watch(
            self._config.cluster.deadlines.patience_s,
            lambda: "; ".join(map(str, self._workers())) or "none",
            self._warnings.add,
        )

    def _workers(self) -> list[MemberStatus]:
        return self._rollouts.status() if self._rollouts is not None else []

    # -- parts -------------------------------------------------------------------------------------------------------

    async def _start_rollouts(
        self, checkpoint: Path, resume_from: Path | None = None, images: Path | None = None
    ) -> RolloutPool:
        """The engines: started once, later phases push their weights into them. A resumed run begins with as many as it
        had; one that falls back keeps those that it has."""
        if self._rollouts is None:
            config = self._config
            stores = (images,) if images else self._folder.image_stores
            self._rollouts = make_rollouts(config, checkpoint, stores, self._waits, self._warnings.add)
            state = read_trainer_state(resume_from) if resume_from is not None else {}
            size = first_size(config.rollout, state)
            if size != config.rollout.num_workers:
                self._warnings.add(
                    f"rollout workers: {size}, as when {resume_from} was written, and not rollout.num_workers="
                    f"{config.rollout.num_workers}; `sr-real scale` changes it"
                )
            await self._rollouts.start(size)
        return self._rollouts

    async def _start_learner(
        self,
        config: LearnerConfig,
        checkpoint: Path,
        reference: Path | None,
        total_steps: int,
        checkpoints: Path | None = None,
    ) -> LearnerGroup:
        self._learner = make_learner(
            self._config, self._folder, config, checkpoint, reference, total_steps, self._warnings.add, checkpoints
        )
        await self._learner.start()
        return self._learner

    def _samples(self, split: str) -> Sequence[SpatialSample]:
        return samples_of(self._config, self._folder, split)

    async def _evaluate(self, title: str) -> HeldOutReport:
        assert self._rollouts is not None
        config = self._config
        self._begin(title, 0)
        return await evaluate(
            self._samples("test"),
            self._rollouts.generate,
            load_reward(config.rewards),
            config.evaluation,
            self._sampling(config.evaluation),
            self._show_asked,
        )

    def _sampling(self, config: EvaluationConfig) -> Sampling:
        training = self._config.rollout.sampling
        return Sampling.of(config, training.temperature, training.max_response_tokens)

    def _show_asked(self, done: int, total: int) -> None:
        self._advance(done, {}, total)

    def _begin(self, phase: str, total: int, saves: bool = False) -> None:
        if self.is_stopping and not saves:
            raise asyncio.CancelledError
        self.progress = Progress(phase=phase, total=total)
        self._phase, self._saves = asyncio.current_task(), saves

    def _advance(self, done: int, metrics: Mapping[str, object], total: int | None = None) -> None:
        self.progress.done = done
        self.progress.metrics = dict(metrics)
        if total is not None:
            self.progress.total = total
