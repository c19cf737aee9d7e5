"""Which tokens get which advantage: with literal numbers."""

import math
from dataclasses import replace

import pytest

from learner.config import LearnerConfig
from learner.credit import group_rows, num_detect_tokens
from rewards.score import Score
from rollout.trajectory import Trajectory
from spatial.sample import Path, SpatialSample
from tests.learner.conftest import ToyWorld
from tests.learner.toy import chain, training_rows

# The answer is right in the first and the second, the centre found in the first and the third.
SCORES = [
    Score(total=1.0, accuracy=1.0, format=1.0, center=1.0, center_share=0.1),
    Score(total=0.9, accuracy=1.0, format=1.0, center=0.0, center_share=0.0),
    Score(total=0.2, accuracy=0.0, format=1.0, center=1.0, center_share=0.1),
]


def detecting(world: ToyWorld) -> tuple[SpatialSample, list[Trajectory]]:
    """Three responses of the detecting path to one sample."""
    sample = world.samples[0]
    rows = [row for row in training_rows(world.samples, world.encoder) if row.path is Path.DTR]
    return sample, [replace(row.trajectory, sample_id=sample.sample_id) for row in rows[:3]]


def test_spans_credit_centres_up_to_the_end_of_the_detect_block(world: ToyWorld) -> None:
    sample, members = detecting(world)
    rows = group_rows(sample, members, SCORES, LearnerConfig(credit="spans"), world.encoder.tokenizer)
    # accuracy and format: 0.9, 0.9, 0.1, mean 0.6333, std 0.4619; centres: 0.1, 0, 0.1, mean 0.0667, std 0.0577
    assert [row.advantage for row in rows] == pytest.approx([0.57735, 0.57735, -1.15470], abs=1e-4)
    assert [row.detect_advantage for row in rows] == pytest.approx([0.57735, -1.15470, 0.57735], abs=1e-4)
    for row in rows:
        text = world.encoder.tokenizer.decode(list(row.response_token_ids[: row.num_detect_tokens]))
        assert text.endswith("</detect>")
        assert text.count("</detect>") == 1


def test_a_response_gets_one_advantage_by_default(world: ToyWorld) -> None:
    sample, members = detecting(world)
    rows = group_rows(sample, members, SCORES, LearnerConfig(), world.encoder.tokenizer)
    std = math.sqrt((0.3**2 + 0.2**2 + 0.5**2) / 2)
    assert [row.advantage for row in rows] == pytest.approx([0.3 / std, 0.2 / std, -0.5 / std], abs=1e-4)
    assert {(row.detect_advantage, row.num_detect_tokens) for row in rows} == {(0.0, 0)}


def test_a_response_without_a_detect_block_has_no_detect_tokens(world: ToyWorld) -> None:
    ids = world.encoder.response_token_ids(chain(Path.LOR, 0))
    assert num_detect_tokens(ids, world.encoder.tokenizer) == 0
    unclosed = world.encoder.response_token_ids(chain(Path.DTR, 0).replace("</detect>", ""))
    assert num_detect_tokens(unclosed, world.encoder.tokenizer) == 0
