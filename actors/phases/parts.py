"""The parts that phases are made of, each from the config and the run's folder."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from actors.cluster.tasks import beside
from actors.config import SessionConfig
from actors.pool.publisher import WeightPublisher
from actors.pool.rollout_pool import RolloutPool
from actors.pool.waits import Waits
from actors.run.run_folder import RunFolder
from actors.workers.learner_group import LearnerGroup
from actors.workers.learner_rank import LearnerSpec
from actors.workers.reward_worker import RewardPool
from actors.workers.rollout_handle import RayRolloutWorker
from actors.workers.rollout_worker import RolloutSpec
from learner.config import LearnerConfig
from rollout.canary import choose_canary
from spatial.dataset import open_samples
from spatial.images import ImageStore
from spatial.sample import SpatialSample


def make_rollouts(
    config: SessionConfig,
    checkpoint: Path,
    images: tuple[Path, ...],
    waits: Waits,
    report: Callable[[str], None],
) -> RolloutPool:
    """The pool of engines, to be started.

    Args:
        checkpoint: the weights that engines load when they start.
        images: the stores that hold the images of the prompts.
    """
    spec = RolloutSpec(checkpoint, images, config.prompt, config.rollout)
    return RolloutPool(
        lambda name, number: RayRolloutWorker(spec, name, number, config.cluster.deadlines, report),
        config.rollout.health,
        config.rollout.engine.max_num_seqs,
        config.training.max_attempts,
        waits,
        report,
    )


def make_learner(
    config: SessionConfig,
    folder: RunFolder,
    learner: LearnerConfig,
    checkpoint: Path,
    reference: Path | None,
    total_steps: int,
    report: Callable[[str], None],
    checkpoints: Path | None = None,
) -> LearnerGroup:
    """The learner's ranks, to be started.

    Args:
        learner: the run's own settings, or those of its cold start.
        total_steps: planned optimiser steps.
        report: called with a message for every optimiser step that was skipped, and when a rank finds no room.
        checkpoints: where its training state is kept, if not in the folder of reinforcement learning.
    """
    spec = LearnerSpec(
        config=learner,
        checkpoint=checkpoint,
        reference=reference,
        images=folder.images,
        prompt=config.prompt,
        checkpoints=checkpoints or folder.checkpoints,
        keep_checkpoints=config.training.keep_checkpoints,
        total_steps=total_steps,
        steps_per_update=config.steps_per_update,
        temperature=config.rollout.sampling.temperature,
        num_threads=config.cluster.threads_of_rank(learner.num_ranks),
        on_gpu=config.cluster.learner_rank_gpus > 0,
    )
    return LearnerGroup(spec, config.cluster, config.rollout.engine, report)


def make_publisher(
    config: SessionConfig, folder: RunFolder, learner: LearnerGroup, rollouts: RolloutPool
) -> WeightPublisher:
    is_float32 = {config.learner.deepspeed.dtype, config.rollout.engine.dtype} == {"float32"}
    canary = choose_canary(samples_of(config, folder, "validation"), config.rollout.engine.canary, is_float32)
    return WeightPublisher(learner, rollouts.roster, config.training.max_attempts, canary)


@asynccontextmanager
async def serving_learner(publisher: WeightPublisher, version: int) -> AsyncIterator[None]:
    """Push the learner's weights to every engine as `version`; while the block runs, workers that join get them too."""
    async with beside(publisher.keep_in_sync()):
        async with publisher.exclusive:
            await publisher.publish(version)
        yield


def make_reward_pool(config: SessionConfig, report: Callable[[str], None]) -> RewardPool:
    return RewardPool(config.rewards, config.cluster, config.training.max_attempts, report)


def samples_of(config: SessionConfig, folder: RunFolder, split: str) -> Sequence[SpatialSample]:
    """The samples of "train", "validation" or "test" that the run can use."""
    file, images = folder.data / f"{split}.jsonl", ImageStore(folder.images)
    return open_samples(file, images, config.max_bad_share, folder.left_out_of(split)).samples
