"""A run's own held-out questions: asked through the engines, and scored as training scores them."""

from collections.abc import Callable, Sequence
from itertools import islice

from evaluation.config import EvaluationConfig
from evaluation.held_out_report import HeldOutFigures, HeldOutReport, ScoredResponse
from evaluation.responses import FailedResponse, Generate, Responses, Sampling, ask
from flow.trajectory import Trajectory
from rewards.custom import Reward
from rewards.reward import center_errors_m, is_correct, predicted_centers_m
from spatial.sample import ChoiceAnswer, ReasoningPath, SpatialSample


async def evaluate(
    samples: Sequence[SpatialSample],
    generate: Generate,
    reward: Reward,
    config: EvaluationConfig,
    sampling: Sampling,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> HeldOutReport:
    """Ask every path's questions and score the responses as they come (see `ask`)."""

    def score(trajectory: Trajectory, sample: SpatialSample, is_greedy: bool) -> ScoredResponse | FailedResponse:
        return score_held_out(trajectory.response_text, trajectory.path, sample, is_greedy, reward)

    responses = await ask(questions_of(samples, config), generate, score, sampling, on_progress)
    return report_of(responses, config.seed)


def questions_of(
    samples: Sequence[SpatialSample], config: EvaluationConfig
) -> dict[ReasoningPath, Sequence[SpatialSample]]:
    """The questions of each path: the first `num_questions` that may be asked through it."""
    return {path: list(islice((s for s in samples if path in s.paths), config.num_questions)) for path in config.paths}


def report_of(responses: Responses[ScoredResponse], seed: int) -> HeldOutReport:
    """The figures of every path.

    Args:
        seed: of the intervals.
    """
    paths = {
        path: HeldOutFigures.of(
            [response for response in responses.succeeded if response.path is path],
            num_questions,
            sum(failure.path is path for failure in responses.failed),
            seed,
        )
        for path, num_questions in responses.num_questions.items()
    }
    return HeldOutReport(paths, responses.succeeded)


def score_held_out(
    text: str, path: ReasoningPath, sample: SpatialSample, is_greedy: bool, reward: Reward
) -> ScoredResponse | FailedResponse:
    """A response with its scores; a failed one, with the reason, if a custom reward raises an exception."""
    try:
        score = reward(text, path, sample)
    except Exception as error:  # it can fail in any way, and must not end an evaluation of all others
        return FailedResponse(sample.sample_id, path, f"score: {type(error).__name__}: {error}")
    return ScoredResponse(
        sample_id=sample.sample_id,
        path=path,
        is_greedy=is_greedy,
        num_options=sample.answer.num_options if isinstance(sample.answer, ChoiceAnswer) else 0,
        response=text,
        centers_m=predicted_centers_m(text, path, sample),
        kind=sample.kind,
        domain=sample.domain,
        correct=is_correct(text, path, sample),
        score=score,
        center_errors_m=center_errors_m(text, path, sample),
    )
