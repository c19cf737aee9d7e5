"""The training loops of a phase, over its engines and learner."""

from collections.abc import Callable, Mapping
from typing import Any

from actors.loop.books import Books
from actors.loop.group_maker import GroupMaker, Rewards, Rollouts
from actors.loop.lane import make_lanes
from actors.loop.step_record import StepRecorder
from actors.loop.training import Learner, Publisher, Trainer
from actors.loop.validation import Validation
from actors.phases.session import Session


def make_trainer(
    session: Session,
    rollouts: Rollouts,
    rewards: Rewards,
    learner: Learner,
    publisher: Publisher,
    on_step: Callable[[Mapping[str, Any]], None],
    validation: Validation | None = None,
) -> Trainer:
    """The loops over the run's training samples, at their beginning.

    Args:
        on_step: called with each step's metrics.
    """
    config, training = session.config, session.config.training
    return Trainer(
        training,
        books=Books(make_lanes(session.samples("train"), training, config.seed), training.filter),
        groups=GroupMaker(training, config.rollout.sampling, rollouts, rewards, session.waits, session.warnings.add),
        learner=learner,
        publisher=publisher,
        recorder=StepRecorder(training, session.folder, on_step),
        waits=session.waits,
        validation=validation,
    )
