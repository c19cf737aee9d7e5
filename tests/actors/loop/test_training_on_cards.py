"""What GPUs add to the training loops: figures of cards in each step, and turns on cards that are shared."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from actors.cluster.card_meter import CardSample, CardTrack
from actors.loop.card_metrics import CardWatch
from spatial.json_lines import read_lines
from tests.actors.fakes import FakeLearner
from tests.actors.loop.rig import Rig


class OneCard:
    """A card that is looked at all the time, and works half of it."""

    async def card_tracks(self) -> list[CardTrack]:
        now_s = time.time()
        samples = tuple(CardSample(now_s - age / 10_000, 0.5, 8, 4) for age in reversed(range(10_000)))
        return [CardTrack("learner-0", "GPU-a", "NVIDIA H100 80GB HBM3", 16, samples, peak_allocated_bytes=4)]


def test_a_step_on_gpus_is_written_with_the_figures_of_its_cards_and_one_on_cpus_without(tmp_path: Path) -> None:
    on_gpu = Rig(tmp_path / "gpu", num_steps=2, cards=CardWatch((OneCard(),), "bfloat16")).run()
    lines = list(read_lines(on_gpu.folder.metrics))
    assert [line["gpu/busy_update"] for line in lines] == [0.5, 0.5]
    assert lines[0]["gpu/kind"] == "NVIDIA H100 80GB HBM3"
    step, groups = lines[-1], on_gpu.learner.batches[-1]
    num_tokens = sum(len(t.prompt_token_ids) + len(t.response_token_ids) for g in groups for t in g.trajectories)
    assert step["gpu/tokens_per_s"] == pytest.approx(num_tokens / step["time/step_s"])
    assert not any(name.startswith("gpu/") for step in Rig(tmp_path / "cpu", num_steps=1).run().steps for name in step)


class CountingTurns:
    """Notes how many updates the learner had made each time that its turn began."""

    def __init__(self, learner: FakeLearner) -> None:
        self._learner = learner
        self.num_updates: list[int] = []

    async def begin_learning(self) -> Mapping[str, float]:
        self.num_updates.append(len(self._learner.batches))
        return {"time/sleep_s": 0.25}


def test_the_learners_turn_begins_before_each_update_and_is_told_in_the_metrics(tmp_path: Path) -> None:
    learner = FakeLearner()
    turns = CountingTurns(learner)
    rig = Rig(tmp_path, learner=learner, turns=turns, num_steps=3).run()
    assert turns.num_updates == [0, 1, 2]
    assert [step["time/sleep_s"] for step in rig.steps] == [0.25] * 3
