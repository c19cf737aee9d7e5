"""Rollout only: the training loops without a learner, so that one half of the system can be run and timed alone."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from actors.cluster.tasks import beside
from actors.phases.parts import make_reward_pool
from actors.phases.session import Session
from flow.group import Group


@dataclass(frozen=True)
class RolloutOnly:
    """Feed, roll out, score and record; one model answers every step."""

    model: Path
    """The model, a Hugging Face folder."""

    async def run(self, session: Session) -> None:
        config = session.config
        session.control.begin("rollout only: loading engines")
        rewards = make_reward_pool(config, session.warnings.add)
        rollouts, _ = await asyncio.gather(session.start_rollouts(self.model), rewards.start())
        trainer = session.make_trainer(
            rollouts,
            rewards,
            NoLearner(),
            NoPublisher(),
            on_step=lambda metrics: session.control.advance(metrics["step"], metrics),
            cards=[rollouts] if config.engines_on_gpu else [],
        )
        session.control.begin("rollout only", config.training.num_steps, saves=True)
        async with beside(rollouts.roster.serve_as_loaded()):
            await trainer.run()


class NoLearner:
    """Takes groups and leaves the weights as they are."""

    async def update(self, groups: list[Group]) -> Mapping[str, float]:
        return {}

    async def save_checkpoint(self, step: int, loop_state: Mapping[str, object]) -> None:
        """There is nothing to save."""


class NoPublisher:
    """The engines keep the weights they started with."""

    def __init__(self) -> None:
        self.exclusive = asyncio.Lock()

    async def publish(self, version: int) -> Mapping[str, float]:
        return {"push_bytes": 0}
