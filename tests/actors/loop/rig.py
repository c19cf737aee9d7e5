"""A trainer whose workers, learner and engines are fakes."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from actors.config import GroupFilterConfig, TrainingConfig
from actors.loop.books import Books
from actors.loop.card_metrics import CardWatch
from actors.loop.group_maker import GroupMaker
from actors.loop.lane import make_lanes
from actors.loop.step_record import StepRecorder
from actors.loop.training import Trainer
from actors.loop.validation import Validation
from actors.pool.turns import Turns
from actors.pool.waits import Waits
from actors.run.run_folder import RunFolder
from rollout.config import SamplingConfig
from spatial.sample import ReasoningPath
from tests.actors.fakes import FakeLearner, FakePublisher, FakeRewards, FakeRollouts, make_sample


class Rig:
    """A trainer with all its fakes."""

    def __init__(
        self,
        tmp_path: Path,
        *,
        rewards: FakeRewards | None = None,
        learner: FakeLearner | None = None,
        failing: int = 0,
        num_failing_issues: int | None = None,
        validation: Callable[[FakeRollouts], Validation] | None = None,
        report: Callable[[str], None] = lambda message: None,
        cards: CardWatch | None = None,
        turns: Turns | None = None,
        **config: object,
    ):
        settings = {
            "num_steps": 6,
            "groups_per_step": {ReasoningPath.LOR: 3, ReasoningPath.DTR: 2},
            "group_size": 4,
            "filter": GroupFilterConfig(min_mean_reward=0.0, max_mean_reward=1.0),
        }
        self.config = TrainingConfig(**{**settings, **config})  # type: ignore[arg-type]
        samples = [make_sample(f"s{index}") for index in range(7)]
        lanes = make_lanes(samples, self.config, seed=1)
        self.rollouts = FakeRollouts(failing=failing, num_failing_issues=num_failing_issues)
        self.learner = learner or FakeLearner()
        self.folder = RunFolder(tmp_path)
        self.folder.create()
        self.steps: list[dict] = []
        waits = Waits()
        self.trainer = Trainer(
            self.config,
            books=Books(lanes, self.config.filter),
            groups=GroupMaker(
                self.config, SamplingConfig(), self.rollouts, rewards or FakeRewards(), waits, report=report
            ),
            learner=self.learner,
            publisher=FakePublisher(self.rollouts),
            recorder=StepRecorder(self.config, self.folder, lambda metrics: self.steps.append(dict(metrics)), cards),
            waits=waits,
            turns=turns,
            validation=None if validation is None else validation(self.rollouts),
        )

    def run(self) -> "Rig":
        asyncio.run(self.trainer.run())
        return self

    def trained(self) -> list[list[tuple[str, int]]]:
        return [[(group.path.value, group.index) for group in batch] for batch in self.learner.batches]
