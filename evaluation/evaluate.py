"""Held-out questions through the engines, marked."""

from collections.abc import Callable, Sequence
from itertools import islice

from evaluation.asking import Asked, Generate, Sampling, Unanswered, ask
from evaluation.config import EvaluationConfig
from evaluation.marks import EvaluationResult, Judged, PathResult
from flow.score import Score
from flow.trajectory import Trajectory
from rewards.reward import center_errors_m, is_correct, predicted_centers_m
from spatial.sample import ChoiceAnswer, ReasoningPath, SpatialSample

Reward = Callable[[str, ReasoningPath, SpatialSample], Score]


async def evaluate(
    samples: Sequence[SpatialSample],
    generate: Generate,
    reward: Reward,
    config: EvaluationConfig,
    sampling: Sampling,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> EvaluationResult:
    """Ask every path's questions and mark the answers (see `ask`)."""

    def mark(trajectory: Trajectory, sample: SpatialSample, is_greedy: bool) -> Judged | Unanswered:
        return judge(trajectory.response_text, trajectory.path, sample, is_greedy, reward)

    return result_of(await ask(chosen(samples, config), generate, mark, sampling, on_progress), config.seed)


def chosen(samples: Sequence[SpatialSample], config: EvaluationConfig) -> dict[ReasoningPath, Sequence[SpatialSample]]:
    """The questions of each path: the first `num_questions` that it may be asked."""
    return {path: list(islice((s for s in samples if path in s.paths), config.num_questions)) for path in config.paths}


def result_of(asked: Asked[Judged], seed: int) -> EvaluationResult:
    """The marks of every path.

    Args:
        seed: of the intervals.
    """
    paths = {
        path: PathResult.of(
            [mark for mark in asked.answers if mark.path is path],
            num_questions,
            sum(failure.path is path for failure in asked.failures),
            seed,
        )
        for path, num_questions in asked.num_questions.items()
    }
    return EvaluationResult(paths, asked.answers)


def judge(
    text: str, path: ReasoningPath, sample: SpatialSample, is_greedy: bool, reward: Reward
) -> Judged | Unanswered:
    """A response with its marks; unanswered, with the reason, where a reward of the user's fails."""
    try:
        score = reward(text, path, sample)
    except Exception as error:  # it can fail in any way, and must not end an evaluation of all others
        return Unanswered(sample.sample_id, path, f"score: {type(error).__name__}: {error}")
    return Judged(
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
