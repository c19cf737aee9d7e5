"""Evaluation: one model answers given questions. And held-out questions, which follow each phase that trains."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.cluster.tasks import beside
from actors.phases.session import Session
from actors.pool.rollout_pool import RolloutPool
from evaluation.config import EvaluationConfig
from evaluation.held_out import evaluate, questions_of
from evaluation.held_out_report import HeldOutReport
from evaluation.responses import Response, Responses, Sampling, ask
from rewards.custom import load_reward
from spatial.sample import SpatialSample


@dataclass(frozen=True)
class Evaluate:
    """Collect a model's answers to questions; they are scored elsewhere."""

    model: Path
    """The model, a Hugging Face folder."""
    samples: Sequence[SpatialSample]
    """The questions."""
    config: EvaluationConfig
    """Which of them are asked, through which paths, and how answers are sampled."""
    images: Path
    """The store of their images."""

    async def run(self, session: Session) -> Responses[Response]:
        session.control.begin("loading engines")
        # Engines of an evaluation before hold that one's weights, and there is no learner to push others.
        await session.end_rollouts()
        rollouts = await session.start_rollouts(self.model, images=self.images)
        session.control.begin(f"questions to {self.model.name}")
        sampling = _sampling(self.config, session)
        async with beside(rollouts.roster.serve_as_loaded()):
            questions = questions_of(self.samples, self.config)
            return await ask(questions, rollouts.generate, Response.of, sampling, session.control.count)


async def evaluate_held_out(session: Session, rollouts: RolloutPool, title: str) -> HeldOutReport:
    """Ask the run's test samples of the weights that the engines serve, and score the answers."""
    config = session.config
    session.control.begin(title)
    return await evaluate(
        session.samples("test"),
        rollouts.generate,
        load_reward(config.rewards),
        config.evaluation,
        _sampling(config.evaluation, session),
        session.control.count,
    )


def _sampling(config: EvaluationConfig, session: Session) -> Sampling:
    training = session.config.rollout.sampling
    return Sampling.of(config, training.temperature, training.max_response_tokens)
