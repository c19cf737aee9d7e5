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
from actors.workers.places import Places
from actors.workers.reward_worker import RewardPool
from actors.workers.rollout_handle import RolloutWorkerHandle
from actors.workers.rollout_worker import RolloutSpec
from rollout.canary import choose_canary
from spatial.dataset import open_samples
from spatial.images import ImageStore
from spatial.sample import SpatialSample


def make_rollouts(
    config: SessionConfig,
    model: Path,
    images: tuple[Path, ...],
    places: Places,
    waits: Waits,
    report: Callable[[str], None],
) -> RolloutPool:
    """The pool of engines, to be started.

    Args:
        model: the weights that engines load when they start.
        images: the stores that hold the images of the prompts.
        places: where engines live.
    """
    spec = RolloutSpec(model, images, config.prompt, config.rollout, config.engines_on_gpu, config.cluster.takes_turns)
    return RolloutPool(
        lambda name, number: RolloutWorkerHandle(
            spec, name, number, places.of_engine, config.cluster.deadlines, report
        ),
        config.rollout.health,
        config.rollout.engine.max_num_seqs,
        config.training.max_attempts,
        waits,
        report,
    )


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
