"""A learner rank over an engine of the test's own: which version it says that its weights are of."""

from collections.abc import Sequence
from pathlib import Path as FilePath
from types import SimpleNamespace
from typing import Any

import pytest

from actors.config import DeadlineConfig
from actors.group import Group
from actors.learner_worker import LearnerGroup, LearnerRank, LearnerSpec
from learner.batch import TrainingRow
from learner.config import LearnerConfig
from rewards.score import Score
from spatial.sample import Path
from vlm.config import PromptConfig

from .fake_workers import make_requests
from .fakes import make_sample, make_trajectory


class FakeEngine:
    """Remembers which version it was said to hold at each update."""

    def __init__(self) -> None:
        self.versions: list[int | None] = []

    def grpo_update(self, rows: Sequence[TrainingRow], weight_version: int | None) -> dict[str, float]:
        self.versions.append(weight_version)
        return {}


def make_rank(version: int | None) -> tuple[LearnerRank, FakeEngine]:
    """A rank that has pushed `version` last."""
    nowhere = FilePath("nowhere")
    spec = LearnerSpec(
        config=LearnerConfig(),
        checkpoint=nowhere,
        reference=None,
        images=nowhere,
        prompt=PromptConfig(),
        checkpoints=nowhere,
        keep_checkpoints=1,
        total_steps=None,
        on_gpu=False,
        steps_per_update=0,
        num_threads=None,
    )
    rank, engine = LearnerRank(spec, rank=0), FakeEngine()
    rank._engine, rank._encoder, rank._version = engine, SimpleNamespace(tokenizer=None), version
    return rank, engine


def make_group() -> Group:
    trajectories = tuple(make_trajectory(request, version=0) for request in make_requests(2))
    scores = tuple(Score(total=total, accuracy=total, format=1.0) for total in (0.0, 1.0))
    return Group(0, make_sample("s0"), Path.LOR, trajectories, scores)


def test_an_update_makes_a_new_version_also_when_there_is_no_engine_to_push_it_to() -> None:
    rank, engine = make_rank(version=4)
    for _ in range(3):
        rank.update([make_group()])
    assert engine.versions == [4, 5, 6]


def test_a_learner_without_engines_knows_no_version() -> None:
    rank, engine = make_rank(version=None)
    for _ in range(2):
        rank.update([make_group()])
    assert engine.versions == [None, None]


class OneLeftOut(LearnerGroup):
    """Ranks that leave out one step of each call."""

    def __init__(self, report: Any) -> None:
        self._report = report
        self._deadlines = DeadlineConfig()

    async def _call(self, method: str, *arguments: object, timeout_s: float) -> Any:
        return {
            "cold_start_steps": [{"nonfinite_steps": 0.0}, {"nonfinite_steps": 1.0}],
            "take_warnings": ["optimiser step 2 was left out"],
        }[method]


@pytest.mark.anyio
async def test_an_optimiser_step_that_was_left_out_is_told_to_the_run() -> None:
    told: list[str] = []
    await OneLeftOut(told.append).cold_start_steps(0, 2)
    assert told == ["optimiser step 2 was left out"]
