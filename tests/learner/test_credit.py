"""Which tokens get which advantage: with literal numbers."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from flow.group import Group
from flow.score import Score
from learner.algorithms.advantages import AdvantageConfig
from learner.algorithms.advantages.dr_grpo import DrGrpoAdvantage
from learner.algorithms.advantages.grpo import GrpoAdvantage
from learner.config import LearnerConfig
from learner.credit import group_rows, num_detect_tokens
from spatial.sample import ReasoningPath
from tests.learner.conftest import ToyWorld
from tests.learner.toy import chain, training_rows

# The answer is right in the first and the second, the centre found in the first and the third.
SCORES = [
    Score(total=1.0, accuracy=1.0, format=1.0, center=1.0, center_share=0.1),
    Score(total=0.9, accuracy=1.0, format=1.0, center=0.0, center_share=0.0),
    Score(total=0.2, accuracy=0.0, format=1.0, center=1.0, center_share=0.1),
]


def detecting(world: ToyWorld, scores: Sequence[Score] = SCORES) -> Group:
    """Three responses of the detecting path to one sample, with these scores."""
    sample = world.samples[0]
    rows = [row for row in training_rows(world.samples, world.encoder) if row.path is ReasoningPath.DTR]
    members = tuple(replace(row.trajectory, sample_id=sample.sample_id) for row in rows[:3])
    return Group(0, sample, ReasoningPath.DTR, members, tuple(scores))


def test_spans_credit_centres_up_to_the_end_of_the_detect_block(world: ToyWorld) -> None:
    rows = group_rows(detecting(world), LearnerConfig(credit="spans"), world.encoder.tokenizer)
    # accuracy and format: 0.9, 0.9, 0.1, mean 0.6333; centres: 0.1, 0, 0.1, mean 0.0667; both by the std of 1, 0.9, 0.2
    std = math.sqrt((0.3**2 + 0.2**2 + 0.5**2) / 2)
    assert [row.advantage for row in rows] == pytest.approx([0.26667 / std, 0.26667 / std, -0.53333 / std], abs=1e-4)
    assert [row.detect_advantage for row in rows] == pytest.approx(
        [0.03333 / std, -0.06667 / std, 0.03333 / std], abs=1e-4
    )
    for row in rows:
        text = world.encoder.tokenizer.decode(list(row.response_token_ids[: row.num_detect_tokens]))
        assert text.endswith("</detect>")
        assert text.count("</detect>") == 1


def with_shares(rest: list[float], shares: list[float]) -> list[Score]:
    return [
        Score(total=one + share, accuracy=one, format=1.0, center=10 * share, center_share=share)
        for one, share in zip(rest, shares, strict=True)
    ]


@pytest.mark.parametrize("advantage", [GrpoAdvantage(), DrGrpoAdvantage()])
@pytest.mark.parametrize(
    "scores",
    [SCORES, with_shares([0.9, 0.1, 0.9], [0.1, 0.1, 0.0999]), with_shares([0.9, 0.9, 0.1], [0.0, 0.02, 0.08])],
)
def test_the_advantages_of_spans_add_up_to_those_of_the_response(
    world: ToyWorld, advantage: AdvantageConfig, scores: list[Score]
) -> None:
    config = LearnerConfig(advantage=advantage)
    whole = group_rows(detecting(world, scores), config, world.encoder.tokenizer)
    spans = group_rows(detecting(world, scores), config.replace(credit="spans"), world.encoder.tokenizer)
    assert [row.advantage + row.detect_advantage for row in spans] == pytest.approx([row.advantage for row in whole])


def test_a_difference_of_a_millimetre_moves_tokens_as_little_as_it_weighs_in_the_reward(world: ToyWorld) -> None:
    scores = with_shares([0.9, 0.1, 0.9], [0.1, 0.1, 0.0999])
    rows = group_rows(detecting(world, scores), LearnerConfig(credit="spans"), world.encoder.tokenizer)
    # 0.0001 of reward beside 0.8: the advantages are in that proportion.
    spread = [
        max(values) - min(values) for values in zip(*((r.advantage, r.detect_advantage) for r in rows), strict=True)
    ]
    assert spread[1] / spread[0] == pytest.approx(0.0001 / 0.8)


def test_parts_that_cancel_each_other_out_teach_nothing(world: ToyWorld) -> None:
    scores = with_shares([0.1, 0.0, 0.1], [0.0, 0.1, 0.0])
    rows = group_rows(detecting(world, scores), LearnerConfig(credit="spans"), world.encoder.tokenizer)
    assert {(row.advantage, row.detect_advantage) for row in rows} == {(0.0, 0.0)}


def test_a_response_gets_one_advantage_by_default(world: ToyWorld) -> None:
    rows = group_rows(detecting(world), LearnerConfig(), world.encoder.tokenizer)
    std = math.sqrt((0.3**2 + 0.2**2 + 0.5**2) / 2)
    assert [row.advantage for row in rows] == pytest.approx([0.3 / std, 0.2 / std, -0.5 / std], abs=1e-4)
    assert {(row.detect_advantage, row.num_detect_tokens) for row in rows} == {(0.0, 0)}


def test_a_response_without_a_detect_block_has_no_detect_tokens(world: ToyWorld) -> None:
    ids = world.encoder.response_token_ids(chain(ReasoningPath.LOR, 0))
    assert num_detect_tokens(ids, world.encoder.tokenizer) == 0
    unclosed = world.encoder.response_token_ids(chain(ReasoningPath.DTR, 0).replace("</detect>", ""))
    assert num_detect_tokens(unclosed, world.encoder.tokenizer) == 0


def test_truncated_responses_may_be_left_out_after_they_counted_in_their_group(world: ToyWorld) -> None:
    group = detecting(world)
    first, second, third = group.trajectories
    group = replace(group, trajectories=(first, replace(second, finish_reason="length"), third))
    every = group_rows(group, LearnerConfig(), world.encoder.tokenizer)
    whole = group_rows(group, LearnerConfig(mask_truncated=True), world.encoder.tokenizer)
    assert whole == [every[0], every[2]]
