"""What the phases of a run share: engines, the run's folder, waits, progress and warnings."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.cluster.card_meter import CardSource
from actors.config import SessionConfig
from actors.loop.books import Books
from actors.loop.card_metrics import CardWatch
from actors.loop.group_maker import GroupMaker, Rewards, Rollouts
from actors.loop.lane import make_lanes
from actors.loop.step_record import StepRecorder
from actors.loop.training import Learner, Publisher, Trainer
from actors.loop.validation import Validation
from actors.phases.control import PhaseControl
from actors.phases.parts import make_rollouts, samples_of
from actors.pool.member import MemberStatus
from actors.pool.rollout_pool import RolloutPool
from actors.pool.scaling import Steer, first_size, scale_pool, steer_pool
from actors.pool.turns import TakingTurns, Turns
from actors.pool.waits import Waits
from actors.run.run_folder import RunFolder
from actors.run.status import RunStatus, Warnings
from actors.workers.learner_group import LearnerGroup
from actors.workers.learner_rank import LearnerSpec
from actors.workers.places import Places
from learner.checkpoint_store import read_loop_state
from learner.config import LearnerConfig
from learner.description import describe_correction
from spatial.sample import SpatialSample


class Session:
    """The parts that outlive a phase, and how a run is watched and steered. Holds no tensors."""

    def __init__(self, config: SessionConfig, folder: RunFolder, resolved: Mapping[str, object]) -> None:
        """
        Args:
            resolved: the run's whole config as plain data, which wandb records.
        """
        self.config = config
        self.folder = folder
        self.resolved = resolved
        self.control = PhaseControl()
        self.waits = Waits()
        self.warnings = Warnings()
        self._attention = ""
        self.trainer: Trainer | None = None
        """The training loops of this phase, or of the last one that had some."""
        self._rollouts: RolloutPool | None = None
        self._places = Places(config)

    async def start_rollouts(
        self, model: Path, resume_from: Path | None = None, images: Path | None = None
    ) -> RolloutPool:
        """The engines. The first phase starts them; later phases get the same ones and push their weights into them.

        Args:
            model: the weights that engines load when they start.
            resume_from: a training checkpoint; engines start with as many workers as the run had then.
            images: the store of the images, if not the run's own.
        """
        if self._rollouts is None:
            config = self.config.rollout
            stores = (images,) if images else self.folder.image_stores
            self._rollouts = make_rollouts(self.config, model, stores, self._places, self.waits, self.warnings.add)
            state = read_loop_state(resume_from) if resume_from is not None else {}
            size = first_size(config, self.config.max_workers, state)
            if size != config.num_workers:
                self.warnings.add(
                    f"rollout workers: {size}, as when {resume_from} was written, instead of rollout.num_workers="
                    f"{config.num_workers}; `sr-real scale` changes the number"
                )
            await self._rollouts.start(size)
        return self._rollouts

    async def end_rollouts(self) -> None:
        """End every engine and its processes; the next phase that needs some starts new ones."""
        if self._rollouts is not None:
            await self._rollouts.shutdown()
            self._rollouts = None

    async def start_learner(
        self,
        config: LearnerConfig,
        model: Path,
        total_steps: int,
        reference: Path | None = None,
        checkpoints: Path | None = None,
        engines: Awaitable[RolloutPool] | None = None,
    ) -> LearnerGroup:
        """A learner for one phase, which ends it with `shutdown`.

        On shared cards it loads after the engines. Where the two take turns, the learner's begins before it loads, and
        ends with its first push.

        Args:
            config: the run's own settings, or those of its cold start.
            model: the weights that training starts from.
            total_steps: planned optimiser steps.
            reference: the weights that the KL penalty compares with.
            checkpoints: where its training state is kept, if not in the folder of reinforcement learning.
            engines: those of the phase, which may be loading still.
        """
        if engines is not None and self.config.cluster.layout.type == "shared":
            # An engine measures the memory of its cards when it loads, and must be alone there.
            pool = await engines
            if self.config.cluster.takes_turns:
                await TakingTurns(pool.roster, self.waits).begin_learning()
        whole = self.config
        spec = LearnerSpec(
            config=config,
            model=model,
            reference=reference,
            images=self.folder.images,
            prompt=whole.prompt,
            checkpoints=checkpoints or self.folder.checkpoints,
            keep_checkpoints=whole.training.keep_checkpoints,
            total_steps=total_steps,
            steps_per_update=whole.steps_per_update,
            temperature=whole.rollout.sampling.temperature,
            num_threads=whole.cluster.threads_of_rank(config.num_ranks),
            on_gpu=whole.cluster.learner_on_gpu,
            takes_turns=whole.cluster.takes_turns,
        )
        learner = LearnerGroup(spec, whole.cluster, whole.rollout.engine, self._places.of_rank, self.warnings.add)
        attention = await learner.start()
        self._attention = str(attention)
        if attention.reasons:
            self.warnings.add(f"the learner's attention: {attention}")
        return learner

    def make_trainer(
        self,
        rollouts: Rollouts,
        rewards: Rewards,
        learner: Learner,
        publisher: Publisher,
        on_step: Callable[[Mapping[str, Any]], None],
        validation: Validation | None = None,
        cards: Sequence[CardSource] = (),
        turns: Turns | None = None,
    ) -> Trainer:
        """The training loops of a phase over the run's training samples, at their beginning; `stop` reaches them.

        Args:
            on_step: called with each step's metrics.
            cards: who has GPUs and can tell about them.
            turns: of learner and engines on the same cards; None: nobody waits for the other.
        """
        config, training = self.config, self.config.training
        watch = CardWatch(tuple(cards), config.learner.deepspeed.dtype, config.cluster.peak_tflops) if cards else None
        self.trainer = Trainer(
            training,
            books=Books(make_lanes(self.samples("train"), training, config.seed), training.filter),
            groups=GroupMaker(training, config.rollout.sampling, rollouts, rewards, self.waits, self.warnings.add),
            learner=learner,
            publisher=publisher,
            recorder=StepRecorder(training, self.folder, on_step, watch),
            waits=self.waits,
            turns=turns,
            validation=validation,
        )
        return self.trainer

    def samples(self, split: str) -> Sequence[SpatialSample]:
        """The samples of "train", "validation" or "test" that the run can use."""
        return samples_of(self.config, self.folder, split)

    def status(self) -> RunStatus:
        return RunStatus(
            progress=self.control.progress,
            version=self.trainer.version if self.trainer is not None else None,
            workers=self._workers(),
            num_responses_reissued=self._rollouts.num_responses_reissued if self._rollouts is not None else 0,
            correction=describe_correction(self.config.learner),
            attention=self._attention,
            waits=self.waits.current(),
            num_warnings=self.warnings.count,
            warnings=list(self.warnings.latest),
        )

    def scale(self, num_rollouts: int) -> list[MemberStatus]:
        """Grow or shrink the rollout pool to `num_rollouts` workers; returns at once with the states of all.

        Raises:
            ValueError: outside rollout.min_workers and max_workers, or before there is a pool.
        """
        scale_pool(self._pool_now(), self.config.rollout, self.config.max_workers, num_rollouts)
        return self._workers()

    def steer(self, what: Steer, worker: str) -> None:
        """Let a rollout worker go when it has finished, or put another in its place now.

        Raises:
            ValueError: there is no such worker, or the pool would be smaller than rollout.min_workers.
        """
        steer_pool(self._pool_now(), self.config.rollout, what, worker)

    def stop(self) -> None:
        """End the phase soon: after a checkpoint where there is training to keep, else at once."""
        if self.trainer is not None:
            self.trainer.stop()
        self.control.stop()

    async def watch(self) -> None:
        """Runs until it is cancelled: add waits that last too long to the warnings."""
        await self.waits.watch(
            self.config.cluster.deadlines.patience_s,
            lambda: "; ".join(map(str, self._workers())) or "none",
            self.warnings.add,
        )

    def _pool_now(self) -> RolloutPool:
        if self._rollouts is None:
            raise ValueError(f"the run has no rollout workers yet: it is at '{self.control.progress.phase}'")
        return self._rollouts

    def _workers(self) -> list[MemberStatus]:
        return self._rollouts.status() if self._rollouts is not None else []
