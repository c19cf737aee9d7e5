"""Figures on held-out questions, with literal numbers."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest

from evaluation.config import EvaluationConfig
from evaluation.held_out import evaluate
from evaluation.held_out_report import HeldOutReport, same_questions
from evaluation.responses import Sampling
from flow.score import Failure, Score
from flow.trajectory import RolloutRequest, Trajectory, VersionSpan
from rewards.config import RewardConfig
from rewards.reward import score_response
from spatial.sample import ChoiceAnswer, ImageRef, NumberAnswer, ReasoningPath, Region, SpatialSample

IMAGE = ImageRef(sha256="0" * 64, width_px=64, height_px=64)


def make_sample(name: str, path: ReasoningPath, kind: str, answer: ChoiceAnswer | NumberAnswer) -> SpatialSample:
    region = Region(mark="red", box_xyxy_px=(1.0, 1.0, 9.0, 9.0), center_m=(0.0, 0.0, 2.0))
    return SpatialSample(
        sample_id=name,
        domain="test",
        kind=kind,
        paths=(path,),
        images=(IMAGE,),
        question="?",
        answer=answer,
        regions=(region,) if path is ReasoningPath.DTR else (),
    )


LOR = make_sample("lor", ReasoningPath.LOR, "count", ChoiceAnswer(letter="A", num_options=2))
DTR = make_sample("dtr", ReasoningPath.DTR, "depth", NumberAnswer(value=2.0, unit="m"))
DETECT = '<detect>Find 1 relevant objects:\n<3d_box center="0.00,0.30,2.00">cube (red point)</3d_box></detect>'


def respond(request: RolloutRequest, text: str) -> Trajectory:
    return Trajectory.answering(
        request,
        prompt_token_ids=(1,),
        response_token_ids=(2,),
        rollout_logprobs=(-1.0,),
        version_spans=(VersionSpan(0, 1),),
        response_text=text,
        finish_reason="stop",
        engine="fake",
    )


async def generate(requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
    """LOR: right, wrong, broken, failed, and right when greedy. DTR: within 25 %, beyond it, and so on."""
    texts = {
        ReasoningPath.LOR: [
            "<think></think><answer>A</answer>",
            "<think></think><answer>B</answer>",
            "<answer>A</answer>",
            None,
        ],
        ReasoningPath.DTR: [
            f"{DETECT}<think></think><answer>{depth} m</answer>" for depth in ("2.4", "2.6", "2.0", "1.0")
        ],
    }[requests[0].path]
    texts = [*texts, "<think></think><answer>A</answer>"]
    return [
        Failure("rollout", "gone", 3) if text is None else respond(request, text)
        for request, text in zip(requests, texts, strict=True)
    ]


def sampling(config: EvaluationConfig) -> Sampling:
    return Sampling.of(config, 1.0, 64)


def evaluated(*samples: SpatialSample) -> HeldOutReport:
    reward = partial(score_response, config=RewardConfig())
    config = EvaluationConfig(num_questions=10, num_samples=4)
    return asyncio.run(evaluate(samples, generate, reward, config, sampling(config)))


@pytest.fixture
def result() -> HeldOutReport:
    return evaluated(LOR, DTR)


def test_failures_are_counted_and_enter_no_mean(result: HeldOutReport) -> None:
    lor = result.paths[ReasoningPath.LOR]
    assert lor.num_failures == 1
    assert lor.accuracy == pytest.approx(2 / 3)  # right, wrong, right though the format is broken
    assert lor.format_rate == pytest.approx(2 / 3)
    assert lor.accuracy_greedy == 1.0


def test_a_reward_that_fails_costs_its_response_and_not_the_evaluation() -> None:
    def reward(text: str, path: ReasoningPath, sample: SpatialSample) -> Score:
        if "B" in text:
            raise RuntimeError("no B please")
        return Score(total=1.0, accuracy=1.0, format=1.0)

    config = EvaluationConfig(num_questions=10, num_samples=4)
    lor = asyncio.run(evaluate([LOR], generate, reward, config, sampling(config))).paths[ReasoningPath.LOR]
    # One response was never generated, and one could not be scored.
    assert (lor.num_failures, lor.reward) == (2, 1.0)


def test_questions_of_two_options_have_a_figure_of_their_own(result: HeldOutReport) -> None:
    lor, dtr = result.paths[ReasoningPath.LOR], result.paths[ReasoningPath.DTR]
    assert lor.accuracy_two_options == pytest.approx(2 / 3)
    assert lor.accuracy_two_options_greedy == 1.0
    assert dtr.accuracy_two_options is None
    three = evaluated(LOR.replace(answer=ChoiceAnswer(letter="A", num_options=3))).paths[ReasoningPath.LOR]
    assert (three.accuracy, three.accuracy_two_options) == (pytest.approx(2 / 3), None)


def test_a_number_is_right_within_a_quarter(result: HeldOutReport) -> None:
    dtr = result.paths[ReasoningPath.DTR]
    assert dtr.accuracy == pytest.approx(2 / 4)
    assert dtr.accuracy_by_kind == {"depth": 0.5}
    assert dtr.accuracy_greedy == 0.0


def test_centre_errors_are_metres_between_prediction_and_truth(result: HeldOutReport) -> None:
    assert result.paths[ReasoningPath.DTR].center_error_m_median == pytest.approx(0.3)
    assert result.paths[ReasoningPath.LOR].center_error_m_median is None
    (centers,) = result.paths[ReasoningPath.DTR].centers_by_domain.values()
    assert (centers.num_centers, centers.error_m_median) == (4, pytest.approx(0.3))
    assert (centers.hit_rates["0.1"], centers.hit_rates["0.2"], centers.hit_rates["0.4"]) == (0.0, 0.0, 1.0)
    assert result.paths[ReasoningPath.LOR].centers_by_domain == {}


def test_two_models_are_asked_with_the_same_seeds() -> None:
    seen: list[list[tuple[int, float]]] = []

    async def remember(requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        seen.append([(request.seed, request.temperature) for request in requests])
        return await generate(requests)

    reward = partial(score_response, config=RewardConfig())
    config = EvaluationConfig(num_questions=1, num_samples=4, temperature=0.8)
    for _ in range(2):
        asyncio.run(evaluate([LOR], remember, reward, config, sampling(config)))
    assert seen[0] == seen[1]
    assert len({seed for seed, _ in seen[0]}) == 5
    assert [temperature for _, temperature in seen[0]] == [0.8] * 4 + [0.0]


def test_paths_are_compared_on_the_questions_that_both_were_asked() -> None:
    both = DTR.replace(sample_id="both", paths=(ReasoningPath.LOR, ReasoningPath.DTR))
    config = EvaluationConfig(num_questions=5, num_samples=2, greedy=False)
    reward = partial(score_response, config=RewardConfig())

    async def answer(requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        texts = {ReasoningPath.LOR: ["<think></think><answer>9</answer>", "<think></think><answer>2.1</answer>"]}
        said = [f"{DETECT}<think></think><answer>2.0 m</answer>"] * 2
        return [respond(r, texts.get(r.path, said)[r.member]) for r in requests]

    result = asyncio.run(evaluate([LOR, both, DTR], answer, reward, config, sampling(config)))
    # The question that only one path was asked does not count.
    assert same_questions(result.responses) == {"all": {"lor": 0.5, "dtr": 1.0}, "depth": {"lor": 0.5, "dtr": 1.0}}


def test_no_more_questions_are_under_way_than_are_allowed() -> None:
    under_way, most = 0, 0

    async def slow(requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return [respond(request, "") for request in requests]

    config = EvaluationConfig(num_samples=3, greedy=True)
    reward = partial(score_response, config=RewardConfig())
    samples = [LOR.replace(sample_id=f"lor-{number}") for number in range(30)]
    sampling = replace(Sampling.of(config, 1.0, 64), max_groups=8)
    result = asyncio.run(evaluate(samples, slow, reward, config, sampling))
    assert most == 8
    assert result.paths[ReasoningPath.LOR].num_questions == 30


def test_figures_have_intervals_over_questions_and_none_where_nothing_was_asked() -> None:
    samples = [LOR.replace(sample_id=f"lor-{number}") for number in range(40)]

    async def alternate(requests: Sequence[RolloutRequest]) -> list[Trajectory | Failure]:
        letter = "A" if requests[0].group_id % 2 else "B"
        return [respond(request, f"<think></think><answer>{letter}</answer>") for request in requests]

    reward = partial(score_response, config=RewardConfig())
    config = EvaluationConfig(num_samples=8, greedy=False)
    figures = asyncio.run(evaluate(samples, alternate, reward, config, sampling(config))).paths[ReasoningPath.LOR]
    assert figures.accuracy == 0.5
    assert figures.accuracy_interval is not None
    # Eight equal responses to each of 40 questions are 40 trials and not 320: 0.5 ± 1.96·sqrt(0.25/40) = 0.5 ± 0.155.
    assert figures.accuracy_interval.low == pytest.approx(0.345, abs=0.02)
    assert figures.accuracy_interval.high == pytest.approx(0.655, abs=0.02)
    assert (figures.accuracy_greedy, figures.accuracy_greedy_interval) == (None, None)
