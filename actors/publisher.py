"""From a new version to engines that serve it."""

import time
from collections.abc import Mapping

from actors.learner_worker import LearnerGroup
from actors.rollout_worker import RolloutPool
from rollout.config import EngineConfig


class WeightPublisher:
    """Pause and keep → send → every engine acknowledges → resume."""

    def __init__(self, learner: LearnerGroup, rollouts: RolloutPool, engine: EngineConfig) -> None:
        self._learner = learner
        self._rollouts = rollouts
        self._engine = engine

    async def connect(self) -> None:
        """Form the transfer group of learner and engines."""
        await self._learner.connect(self._rollouts.workers, self._engine)

    async def publish(self, version: int) -> Mapping[str, float]:
        """Give every engine the learner's weights as `version`.

        Responses in flight are kept, and go on under the new weights.

        Raises:
            DeadlineError: somebody did not answer in time; engines stay paused, for what they hold is unknown.
        """
        await self._rollouts.call_all("pause", what="pause before a push")
        paused_s = time.perf_counter()
        num_bytes = await self._learner.push(version)
        acknowledged = await self._rollouts.call_all("weight_version", what=f"acknowledgement of version {version}")
        if any(seen != version for seen in acknowledged):
            raise RuntimeError(f"pushed version {version}, but the engines report {acknowledged}")
        await self._rollouts.call_all("resume", what="resume after a push")
        return {"push_bytes": num_bytes, "time/rollout_pause_s": time.perf_counter() - paused_s}
