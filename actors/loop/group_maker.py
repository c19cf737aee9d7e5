"""From a prompt to a scored group: the loops "roll out" and "score", and the counts of what they did."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from actors.config import TrainingConfig
from actors.loop.failures import Counts, FailureTally
from actors.loop.feed import PromptFeed
from actors.loop.stage_clock import StageClock
from actors.pool.waits import Waits
from flow.group import Group
from flow.score import Failure, Score
from flow.trajectory import RolloutRequest, Trajectory
from rollout.config import SamplingConfig
from spatial.sample import ReasoningPath, SpatialSample


class Rollouts(Protocol):
    @property
    def size(self) -> int:
        """Workers that were asked for."""

    async def generate(self, requests: tuple[RolloutRequest, ...]) -> list[Trajectory | Failure]: ...


class Rewards(Protocol):
    async def score(self, items: list[tuple[str, ReasoningPath, SpatialSample]]) -> list[Score | Failure]: ...


class TooManyFailuresError(RuntimeError):
    """More responses failed than the config allows; the message counts the reasons."""


@dataclass(frozen=True)
class Work:
    """What was done between two steps, whichever step the groups belong to."""

    counts: Counts
    num_groups_reissued: int
    """Groups that were asked for again because a member failed."""
    num_tokens: int
    """Generated, in responses that were scored."""
    stages_s: dict[str, float]
    """Seconds by stage ("rollout", "score"), each second counted once."""
    stretches: list[tuple[str, float, float]]
    """Stage, begin and end of the same, by `time.perf_counter`."""


class GroupMaker:
    """Makes groups, any number at once. Holds counts, and none of the groups."""

    def __init__(
        self,
        config: TrainingConfig,
        sampling: SamplingConfig,
        rollouts: Rollouts,
        rewards: Rewards,
        waits: Waits,
        report: Callable[[str], None],
    ) -> None:
        """
        Args:
            report: called with a message when many responses failed between two steps.
        """
        self._config = config
        self._sampling = sampling
        self._rollouts = rollouts
        self._rewards = rewards
        self._waits = waits
        self._report = report
        self._clock = StageClock()
        self._failures = FailureTally()
        self._num_tokens = 0
        self._num_groups_reissued = 0

    @property
    def num_workers(self) -> int:
        """Rollout workers that were asked for."""
        return self._rollouts.size

    async def make(self, feed: PromptFeed, index: int) -> Group:
        """The group of the feed's prompt at `index`. If a member fails, the whole group is made again, as often as
        `training.on_failure` says; the group names the failures of all attempts.

        Raises:
            TooManyFailuresError: more responses failed since training began than `training.max_failure_share`.
        """
        group = await self._attempt(feed, index, 0)
        failures = group.failures
        for attempt in range(1, self._config.on_failure.max_reissues + 1):
            if not group.failures:
                break
            self._num_groups_reissued += 1
            group = await self._attempt(feed, index, attempt)
            failures += group.failures
        return replace(group, failures=failures)

    async def _attempt(self, feed: PromptFeed, index: int, attempt: int) -> Group:
        """Request and score the group once; `attempt` counts earlier requests."""
        sampling = self._sampling
        requests = feed.requests(
            index, self._config.group_size, sampling.temperature, sampling.max_response_tokens, attempt
        )
        sample = requests[0].sample
        with self._clock.stage("rollout"):
            responses = await self._rollouts.generate(requests)
        trajectories = [response for response in responses if isinstance(response, Trajectory)]
        scores: list[Score | Failure] = []
        if trajectories:
            with self._clock.stage("score"), self._waits.on("score", "the reward workers"):
                scores = await self._rewards.score([(t.response_text, feed.path, sample) for t in trajectories])
        scored = [(t, score) for t, score in zip(trajectories, scores, strict=True) if isinstance(score, Score)]
        group = Group(
            index=index,
            sample=sample,
            path=feed.path,
            trajectories=tuple(trajectory for trajectory, _ in scored),
            scores=tuple(score for _, score in scored),
            failures=tuple(outcome for outcome in (*responses, *scores) if isinstance(outcome, Failure)),
        )
        self._count(group)
        return group

    def _count(self, group: Group) -> None:
        self._num_tokens += sum(len(trajectory.response_token_ids) for trajectory in group.trajectories)
        failures = self._failures
        failures.add(len(group.trajectories) + len(group.failures), group.failures, group.sample.sample_id)
        if failures.num_responses >= 100 and failures.share > self._config.max_failure_share:
            raise TooManyFailuresError(
                f"{failures.num_failures} of {failures.num_responses} responses failed "
                f"(training.max_failure_share={self._config.max_failure_share}):\n{failures.describe(5)}"
            )

    def take_work(self, step: int) -> Work:
        """What was done since the last call. If many responses failed, that is reported under the number of the step;
        only many failures since training began end the run."""
        counts = self._failures.take_new()
        if counts.num_failures > self._config.max_failure_share * counts.num_responses:
            self._report(
                f"step {step}: {counts.num_failures} of {counts.num_responses} responses failed. The commonest "
                f"reasons since the run began:\n{self._failures.describe(3)}"
            )
        num_tokens, self._num_tokens = self._num_tokens, 0
        num_groups_reissued, self._num_groups_reissued = self._num_groups_reissued, 0
        return Work(counts, num_groups_reissued, num_tokens, self._clock.take(), self._clock.take_stretches())

    def describe_failures(self) -> str:
        """How many responses failed since training began, and why; empty where none did."""
        if not self._failures.num_failures:
            return ""
        return f"\nResponses that failed, {self._failures.num_failures} in all:\n{self._failures.describe(5)}"
