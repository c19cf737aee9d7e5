"""Reinforcement learning: the training loops, with a new learner when one is lost; then held-out questions."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.loop.training import Trainer
from actors.loop.validation import make_validation
from actors.phases.evaluation import evaluate_held_out
from actors.phases.parts import make_publisher, make_reward_pool, serving_learner
from actors.phases.phase import TrainedModel
from actors.phases.session import Session
from actors.pool.publisher import WeightPublisher
from actors.pool.rollout_pool import RolloutPool
from actors.pool.scaling import follow_load, make_scaling
from actors.pool.turns import TakingTurns
from actors.run.telemetry import Telemetry
from actors.workers.learner_group import LearnerGroup, LearnerLostError
from evaluation.exam import Exam
from evaluation.held_out_report import HeldOutReport, summary_of
from learner.checkpoint_store import newest_whole, read_loop_state
from rollout.errors import cause_of


@dataclass(frozen=True)
class Reinforce:
    """Train a model by reinforcement along both paths, and evaluate the result."""

    model: Path
    """The model to start from, a Hugging Face folder; also the reference of the KL penalty."""
    resume_from: Path | None = None
    """The training checkpoint to continue from; None: begin with the first step."""
    exams: tuple[Exam, ...] = ()
    """Benchmarks that are asked every `training.evaluate_every` steps, beside the validation questions."""

    async def run(self, session: Session) -> TrainedModel:
        started_s = time.perf_counter()
        session.control.begin("RL: loading")
        warn = session.warnings.add
        telemetry = await Telemetry.begin(session.config.telemetry, session.folder, session.resolved, warn)
        result = await self._train(_Training(self, session, telemetry), session)
        await telemetry.close()
        session.control.raise_if_stopping()
        assert result is not None
        session.folder.write_evaluation("rl", result.responses)
        summary = summary_of(result, time.perf_counter() - started_s)
        session.folder.write_summary("rl", summary)
        return TrainedModel(session.folder.final_model, summary)

    async def _train(self, training: "_Training", session: Session) -> HeldOutReport | None:
        """Train, with a new learner from the last checkpoint when one is lost; None: the run was stopped."""
        resume_from, restarts_left = self.resume_from, session.config.training.max_learner_restarts
        while True:
            try:
                return await training.run(resume_from)
            except* LearnerLostError as lost:
                if session.control.is_stopping or not restarts_left:
                    raise
                resume_from = await fall_back(session, cause_of(lost))
                restarts_left -= 1


class _Training:
    """The parts that stay when the learner is replaced: engines and reward workers start once."""

    def __init__(self, phase: Reinforce, session: Session, telemetry: Telemetry) -> None:
        self._phase = phase
        self._session = session
        self._telemetry = telemetry
        self._scaling = make_scaling(session.config.rollout, session.config.max_workers)
        self._rewards = make_reward_pool(session.config, session.warnings.add)
        self._engines = asyncio.ensure_future(session.start_rollouts(phase.model, phase.resume_from))
        self._graders = asyncio.ensure_future(self._rewards.start())

    async def run(self, resume_from: Path | None) -> HeldOutReport | None:
        """Train with a new learner, from a checkpoint on; None: the run was stopped.

        Raises:
            ExceptionGroup: of `LearnerLostError`, when a rank died or hung; the engines and reward workers stay.
        """
        session, config, model = self._session, self._session.config, self._phase.model
        steps = config.training.num_steps * config.steps_per_update
        learner, rollouts, _ = await asyncio.gather(
            session.start_learner(config.learner, model, total_steps=steps, reference=model, engines=self._engines),
            self._engines,
            self._graders,
        )
        publisher = make_publisher(config, session.folder, learner, rollouts)
        trainer = self._make_trainer(learner, rollouts, publisher)
        if resume_from is not None:
            await learner.load_checkpoint(resume_from)
            trainer.restore(read_loop_state(resume_from))
            session.folder.truncate_metrics(trainer.version)
        try:
            # Whatever the engines hold (their first weights, another phase's, or newer ones), they get the learner's.
            async with serving_learner(publisher, trainer.version):
                session.control.begin("RL", config.training.num_steps, saves=True)
                if not session.control.is_stopping:
                    await trainer.run()
                if session.control.is_stopping:
                    return None
                await learner.export(session.folder.final_model)
                return await evaluate_held_out(session, rollouts, "RL: held-out questions")
        finally:
            learner.shutdown()

    def _make_trainer(self, learner: LearnerGroup, rollouts: RolloutPool, publisher: WeightPublisher) -> Trainer:
        session, config = self._session, self._session.config
        warn = session.warnings.add

        def on_step(metrics: Mapping[str, Any]) -> None:
            self._telemetry.log(metrics)
            session.control.advance(metrics["step"], metrics)
            if self._scaling is not None:
                follow_load(self._scaling, rollouts, metrics, warn)

        validation = make_validation(config, session.samples("validation"), self._phase.exams, rollouts.generate, warn)
        cards = [
            source
            for source, is_on_gpu in ((learner, config.cluster.learner_on_gpu), (rollouts, config.engines_on_gpu))
            if is_on_gpu
        ]
        turns = TakingTurns(rollouts.roster, session.waits) if config.cluster.takes_turns else None
        return session.make_trainer(rollouts, self._rewards, learner, publisher, on_step, validation, cards, turns)


async def fall_back(session: Session, lost: BaseException) -> Path | None:
    """The checkpoint from which training continues without the lost learner; None: from the first step. A warning says
    which steps are repeated."""
    resume_from, faults = await asyncio.to_thread(newest_whole, session.folder.checkpoints)  # slow
    for fault in faults:
        session.warnings.add(f"checkpoint not used: {fault}")
    last_step = read_loop_state(resume_from)["step"] if resume_from else 0
    reached = session.trainer.version if session.trainer else 0
    session.warnings.add(
        f"{lost}; a new learner continues from step {last_step}, so {reached - last_step} steps are repeated"
    )
    session.control.begin("RL: a new learner")
    session.folder.truncate_metrics(last_step)
    return resume_from
