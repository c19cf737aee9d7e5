"""Hand-written stand-ins for the parts that the training loops join, with the parts' protocols."""

import asyncio
import random
from collections.abc import Mapping

from flow.group import Group
from flow.score import Failure, Score
from flow.trajectory import RolloutRequest, Trajectory, VersionSpan
from spatial.sample import ChoiceAnswer, ImageRef, ReasoningPath, SpatialSample

IMAGE = ImageRef(sha256="0" * 64, width_px=8, height_px=8)


def make_sample(
    name: str, paths: tuple[ReasoningPath, ...] = (ReasoningPath.LOR, ReasoningPath.DTR), kind: str = "count"
) -> SpatialSample:
    return SpatialSample(
        sample_id=name,
        domain="fake",
        kind=kind,
        paths=paths,
        images=(IMAGE,),
        question="?",
        answer=ChoiceAnswer(letter="A", num_options=2),
    )


def make_trajectory(request: RolloutRequest, version: int, text: str = "", num_tokens: int = 3) -> Trajectory:
    return Trajectory.answering(
        request,
        prompt_token_ids=(1,),
        response_token_ids=(5,) * num_tokens,
        rollout_logprobs=(-0.5,) * num_tokens,
        version_spans=(VersionSpan(version, num_tokens),),
        response_text=text or f"{request.seed}",
        finish_reason="stop",
        engine="fake",
    )


class FakeRollouts:
    """Answers after a random pause, with the version that is served when it begins."""

    def __init__(self, seed: int = 0, failing: int = 0, num_failing_issues: int | None = None) -> None:
        """
        Args:
            failing: how many members of a group fail.
            num_failing_issues: how many requests for each group have failing members; None for all.
        """
        self.version = 0
        self.size = 1
        self.asked: list[tuple[ReasoningPath, int]] = []
        self._random = random.Random(seed)
        self._failing = failing
        self._num_failing_issues = num_failing_issues

    async def generate(self, requests: tuple[RolloutRequest, ...]) -> list[Trajectory | Failure]:
        self.asked.append((requests[0].path, requests[0].group_id))
        version = self.version
        await asyncio.sleep(self._random.random() * 0.004)
        made: list[Trajectory | Failure] = [make_trajectory(request, version) for request in requests]
        num_issued = self.asked.count((requests[0].path, requests[0].group_id))
        fails = self._num_failing_issues is None or num_issued <= self._num_failing_issues
        for index in range(self._failing if fails else 0):
            made[index] = Failure("rollout", "engine on fire", 3)
        return made


class FakeRewards:
    """The reward is a function of the response's text, which is its seed: the same in every run."""

    def __init__(self, always: float | None = None) -> None:
        self._always = always

    async def score(self, items: list[tuple[str, ReasoningPath, SpatialSample]]) -> list[Score | Failure]:
        await asyncio.sleep(0)
        totals = [int(text) % 2 if self._always is None else self._always for text, _, _ in items]
        return [Score(total=float(total), accuracy=float(total), format=1.0) for total in totals]


class FakeLearner:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[Group]] = []
        self.saved: dict[int, Mapping[str, object]] = {}

    async def update(self, groups: list[Group]) -> Mapping[str, float]:
        self.batches.append(groups)
        await asyncio.sleep(0.002)
        return {"kl_reference": 0.0}

    async def save_checkpoint(self, step: int, loop_state: Mapping[str, object]) -> None:
        self.saved[step] = loop_state


class FakePublisher:
    """Makes the engines serve the new version."""

    def __init__(self, rollouts: FakeRollouts) -> None:
        self._rollouts = rollouts
        self.exclusive = asyncio.Lock()

    async def publish(self, version: int) -> Mapping[str, float]:
        await asyncio.sleep(0.001)
        self._rollouts.version = version
        return {"push_bytes": 1}
