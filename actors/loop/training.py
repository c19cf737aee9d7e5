"""Reinforcement learning as one algorithm.

    feed      dataset → prompts           waits for: room under the staleness bound   woken by: a published version,
                                                                                      a filtered group
    roll out  prompts → trajectories      waits for: the least loaded worker          woken by: its reply
    score     trajectories → groups       waits for: a free reward worker             woken by: its reply, a deadline
    learn     groups → a new version      waits for: a full batch of every path       woken by: a completed group
    publish   version → engines           waits for: every engine's acknowledgement   woken by: a new version

`max_staleness = 0` makes the same loops synchronous: a prompt is fed only when the weights that it will train are out.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from actors.config import TrainingConfig
from actors.loop.collector import rare_collections
from actors.loop.failures import Counts, FailureTally
from actors.loop.filtering import describe_filtered, filter_counts, why_filtered
from actors.loop.lane import Lane
from actors.loop.stage_clock import StageClock
from actors.loop.step_metrics import step_metrics
from actors.loop.validation import Validation
from actors.pool.waits import Waits
from actors.run.run_folder import RunFolder
from flow.group import Group
from flow.score import Failure, Score
from flow.trajectory import RolloutRequest, Trajectory
from rollout.config import SamplingConfig
from spatial.json_lines import finite
from spatial.sample import ReasoningPath, SpatialSample


class Rollouts(Protocol):
    @property
    def size(self) -> int:
        """Workers that were asked for."""

    async def generate(self, requests: tuple[RolloutRequest, ...]) -> list[Trajectory | Failure]: ...


class Rewards(Protocol):
    async def score(self, items: list[tuple[str, ReasoningPath, SpatialSample]]) -> list[Score | Failure]: ...


class Learner(Protocol):
    async def update(self, groups: list[Group]) -> Mapping[str, float]: ...

    async def save_checkpoint(self, step: int, trainer_state: Mapping[str, object]) -> None: ...


class Publisher(Protocol):
    exclusive: asyncio.Lock
    """Held while the learner's weights are not those of the published version."""

    async def publish(self, version: int) -> Mapping[str, float]: ...


class TooManyFailuresError(RuntimeError):
    """More responses failed than the config allows; the message counts the reasons."""


class Trainer:
    """The loops that join rollout, scoring and learning. Holds versions, positions and counts, and no tensors."""

    def __init__(
        self,
        config: TrainingConfig,
        sampling: SamplingConfig,
        *,
        lanes: dict[ReasoningPath, Lane],
        rollouts: Rollouts,
        rewards: Rewards,
        learner: Learner,
        publisher: Publisher,
        folder: RunFolder,
        on_step: Callable[[Mapping[str, Any]], None],
        waits: Waits | None = None,
        validation: Validation | None = None,
        report: Callable[[str], None] = lambda message: None,
    ) -> None:
        """
        Args:
            on_step: gets every step's metrics.
            report: called with a message after a step in which many responses failed.
        """
        self._config = config
        self._sampling = sampling
        self._lanes = lanes
        self._rollouts = rollouts
        self._rewards = rewards
        self._learner = learner
        self._publisher = publisher
        self._folder = folder
        self._on_step = on_step
        self._waits = waits or Waits()
        self._validation = validation
        self._report = report
        self._clock = StageClock()
        self._changed = asyncio.Event()
        self._tasks: asyncio.TaskGroup
        self._in_flight: set[asyncio.Task[None]] = set()
        self._filtered: list[Group] = []
        self._failures = FailureTally()
        self._num_tokens = 0
        self._num_reissued = 0
        self._saved_step = -1
        self._epoch_s = time.time() - time.perf_counter()
        self._stopping = False
        self.version = 0

    async def run(self) -> None:
        """Train until `num_steps` versions exist, or until `stop`; a checkpoint is written either way.

        Raises:
            ExceptionGroup: one of the loops failed; every other one was ended.
        """
        with rare_collections():
            await self._run_loops()
        await self._checkpoint()

    async def _run_loops(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            while self.version < self._config.num_steps:
                started_s = time.perf_counter()
                self._feed()
                if self._validation is not None:
                    self._validation.begin(self.version, self._tasks)
                groups = await self._next_batch()
                if groups is None:
                    break
                wait_s = time.perf_counter() - started_s
                async with self._publisher.exclusive:
                    await self._learn_and_publish(groups, started_s, wait_s)
                if self.version % self._config.checkpoint_every == 0:
                    await self._checkpoint()
            for task in self._in_flight:
                task.cancel()
            if self._validation is not None:
                self._validation.cancel()

    def stop(self) -> None:
        """End soon: what is in flight is given up now, kept in the checkpoint, and issued again by a resume."""
        self._stopping = True
        self._changed.set()

    def state(self) -> dict[str, object]:
        return {
            "step": self.version,
            "num_rollout_workers": self._rollouts.size,
            "lanes": {path.value: lane.state() for path, lane in self._lanes.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; the learner and the engines must have been given the same version's weights."""
        self.version = self._saved_step = state["step"]
        for path, lane in self._lanes.items():
            lane.restore(state["lanes"][path.value])

    def _feed(self) -> None:
        for lane in self._lanes.values():
            while lane.has_room and not self._stopping:
                task = self._tasks.create_task(self._make_group(lane, lane.issue()))
                self._in_flight.add(task)
                task.add_done_callback(self._in_flight.discard)

    async def _make_group(self, lane: Lane, index: int) -> None:
        group = await self._issue(lane, index, 0)
        failures = group.failures
        for number in range(1, self._config.on_failure.max_reissues + 1):
            if not group.failures:
                break
            self._num_reissued += 1
            group = await self._issue(lane, index, number)
            failures += group.failures
        group = replace(group, failures=failures)
        if why_filtered(group, self._config.filter) is None:
            lane.accept(group)
        else:
            lane.reject(index)
            self._filtered.append(group)
            self._feed()
        if lane.batch_is_ready:
            self._changed.set()

    async def _issue(self, lane: Lane, index: int, number: int) -> Group:
        """The group at `index`, asked for anew; `number`: how often it was asked for before."""
        sampling, path = self._sampling, lane.feed.path
        requests = lane.feed.requests(
            index, self._config.group_size, sampling.temperature, sampling.max_response_tokens, number
        )
        sample = requests[0].sample
        with self._clock.stage("rollout"):
            responses = await self._rollouts.generate(requests)
        trajectories = [response for response in responses if isinstance(response, Trajectory)]
        scores: list[Score | Failure] = []
        if trajectories:
            with self._clock.stage("score"), self._waits.on("score", "the reward workers"):
                scores = await self._rewards.score([(t.response_text, path, sample) for t in trajectories])
        scored = [(t, score) for t, score in zip(trajectories, scores, strict=True) if isinstance(score, Score)]
        group = Group(
            index=index,
            sample=sample,
            path=path,
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

    def _take_counts(self) -> Counts:
        """Of the step that was made; says so if many of its responses failed, which ends only a run of some length."""
        counts = self._failures.take_new()
        if counts.num_failures > self._config.max_failure_share * counts.num_responses:
            self._report(
                f"step {self.version + 1}: {counts.num_failures} of {counts.num_responses} responses failed. The "
                f"commonest reasons since the run began:\n{self._failures.describe(3)}"
            )
        return counts

    async def _next_batch(self) -> list[Group] | None:
        """The oldest ready groups of every path once there are enough of each, or None when asked to stop."""
        with self._waits.on("learn", self._missing):
            while not self._stopping and not all(lane.batch_is_ready for lane in self._lanes.values()):
                self._changed.clear()
                await self._changed.wait()
        if self._stopping:
            return None
        groups = [group for lane in self._lanes.values() for group in lane.take()]
        if not groups:
            why = describe_filtered(self._filtered, self._config.filter)
            if self._failures.num_failures:
                why += f"\nResponses that failed, {self._failures.num_failures} in all:\n{self._failures.describe(5)}"
            raise RuntimeError(f"step {self.version + 1}: {why}")
        return groups

    def _missing(self) -> str:
        """What the next batch waits for."""
        return "groups: " + ", ".join(f"{path} {lane.num_ready} of {lane.quota}" for path, lane in self._lanes.items())

    async def _learn_and_publish(self, groups: list[Group], started_s: float, wait_s: float) -> None:
        filtered, self._filtered = self._filtered, []
        update_started_s = time.perf_counter()
        with self._waits.on("learn", "the learner: an update"):
            learner_metrics = await self._learner.update(groups)
        update_s = time.perf_counter() - update_started_s
        counts = self._take_counts()
        metrics = step_metrics(groups, filtered, counts.num_failures, weight_version=self.version)
        push_started_s = time.perf_counter()
        with self._waits.on("publish", f"the engines: a push of version {self.version + 1}"):
            push_metrics = await self._publisher.publish(self.version + 1)
        push_s = time.perf_counter() - push_started_s
        self.version += 1
        for lane in self._lanes.values():
            lane.settle()
        stages_s = self._clock.take()
        num_tokens, self._num_tokens = self._num_tokens, 0
        num_reissued, self._num_reissued = self._num_reissued, 0
        complete = [(group, True) for group in groups] + [(group, False) for group in filtered]
        recorded = [entry for entry in complete if self._config.is_recorded(entry[0].index)]
        # Apart from the loop: a step's responses may be many megabytes, and engines want new prompts meanwhile.
        await asyncio.to_thread(self._folder.write_trajectories, self.version, recorded)
        record: dict[str, object] = {
            "step": self.version,
            "weight_version": self.version,
            **metrics,
            **counts._asdict(),
            **filter_counts(filtered, self._config.filter),
            **learner_metrics,
            **push_metrics,
            **(self._validation.take() if self._validation is not None else {}),
            "groups_reissued": num_reissued,
            "rollout_tokens_per_s": num_tokens / max(stages_s["rollout"], 1e-9),
            "time/wait_s": wait_s,
            "time/rollout_s": stages_s["rollout"],
            "time/score_s": stages_s["score"],
            "time/update_s": update_s,
            "time/push_s": push_s,
            "time/step_s": time.perf_counter() - started_s,
        }
        record = finite(record)
        self._folder.append_metrics(record)
        self._folder.append_timeline(self.version, self._spans(started_s, wait_s, update_s, push_started_s, push_s))
        self._on_step(record)

    def _spans(
        self, started_s: float, wait_s: float, update_s: float, push_started_s: float, push_s: float
    ) -> list[tuple[str, str, float, float]]:
        """What each loop did in a step: loop, what, begin and end in Unix time."""
        update_started_s = push_started_s - update_s
        loops = {"rollout": ("roll out", "generate"), "score": ("score", "score")}
        spans = [
            ("learn", "wait", started_s, started_s + wait_s),
            ("learn", "update", update_started_s, push_started_s),
            ("publish", "push", push_started_s, push_started_s + push_s),
            *((*loops[stage], start, end) for stage, start, end in self._clock.take_stretches()),
        ]
        epoch_s = self._epoch_s
        return [(loop, what, round(epoch_s + start, 3), round(epoch_s + end, 3)) for loop, what, start, end in spans]

    async def _checkpoint(self) -> None:
        if self._saved_step != self.version:
            await self._learner.save_checkpoint(self.version, self.state())
            self._saved_step = self.version
