"""Settings of the training loops and of the actors that run them. Importing this needs neither Ray nor torch."""

import os
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from evaluation.config import EvaluationConfig
from learner.config import LearnerConfig
from rewards.config import RewardConfig
from rollout.config import RolloutConfig
from spatial.sample import ReasoningPath
from spatial.strict import StrictModel
from vlm.config import PromptConfig

LEAST_PUSH_MARGIN_S = 30
"""What a weight transfer needs, once its deadline has passed, to end and to tell which engine was to blame."""


class GroupFilterConfig(StrictModel):
    """Which groups are worth an update: those that the policy neither masters nor misses altogether."""

    min_mean_reward: float = 0.2
    """Groups with a mean reward at or below this are left out."""
    max_mean_reward: float = 0.99
    """Groups with a mean reward at or above this are left out."""
    min_reward_std: Annotated[float, Field(ge=0)] | None = 1e-6
    """Groups whose rewards have a standard deviation at or below this are left out: no response of theirs is better
    than the others, so they would only spend an update. null: whatever their spread."""
    max_rounds: Annotated[int, Field(ge=1)] = 30
    """A step samples at most this many times its number of groups, then trains on what it has."""

    @model_validator(mode="after")
    def _lets_some_pass(self) -> Self:
        if self.min_mean_reward >= self.max_mean_reward:
            raise ValueError(
                f"filter.min_mean_reward={self.min_mean_reward:g} is not below filter.max_mean_reward="
                f"{self.max_mean_reward:g}: no group could pass"
            )
        return self


class LeaveOutConfig(StrictModel):
    """Failed members are left out; two that are left make a group."""

    type: Literal["leave_out"] = "leave_out"

    @property
    def max_reissues(self) -> int:
        return 0


class ReissueConfig(StrictModel):
    """A group of which a member failed is made anew, all of it; after the last time failed members are left out."""

    type: Literal["reissue"] = "reissue"
    max_reissues: Annotated[int, Field(ge=1)] = 2
    """Most retries per group; `groups_reissued` in the metrics counts them."""


FailureRule = Annotated[LeaveOutConfig | ReissueConfig, Field(discriminator="type")]


class BenchmarkConfig(StrictModel):
    """Questions of a benchmark, asked while training goes on."""

    name: str
    """The benchmark's name, as `sr-real evaluate --benchmark` takes it."""
    folder: str
    """The folder of its files on the machine that starts the run, or a data set's name in the hub's cache."""
    limit: Annotated[int, Field(ge=1)] | None = 100
    """Most questions to ask, evenly spread over the benchmark; null: all."""


class TrainingConfig(StrictModel):
    """Reinforcement learning over groups of responses."""

    num_steps: Annotated[int, Field(ge=0)]
    """Number of training steps; each makes one new weight version."""
    groups_per_step: dict[ReasoningPath, Annotated[int, Field(ge=0)]]
    """Groups that one step trains on, by path. A group never mixes paths."""
    group_size: Annotated[int, Field(ge=2)] = 5
    """Responses to one prompt."""
    kinds: dict[ReasoningPath, tuple[str, ...]] = Field(default_factory=dict)
    """Kinds of question to reinforce, by path; a path that is not named trains on every kind."""
    max_staleness: Annotated[int, Field(ge=0)] = 0
    """Most versions that may lie between the weights that began a response and those it trains. 0: synchronous."""
    filter: GroupFilterConfig = GroupFilterConfig()
    """Which groups are trained on."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """Attempts at a response or a score before it counts as a failure."""
    on_failure: FailureRule = LeaveOutConfig()
    """What becomes of a group when members of it failed."""
    max_failure_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """The run stops, with the reasons, when more than this share of responses failed (after the first 100)."""
    max_learner_restarts: Annotated[int, Field(ge=0)] = 3
    """How many times a run replaces a learner that died or hung; the new one starts from the last checkpoint."""
    evaluate_every: Annotated[int, Field(ge=0)] = 0
    """Steps between two evaluations on held-out questions, asked greedily while training continues; 0: none."""
    evaluate_questions: Annotated[int, Field(ge=1)] = 50
    """Questions per trained path in such an evaluation: the first ones of the validation split."""
    benchmarks: tuple[BenchmarkConfig, ...] = ()
    """Benchmarks that such an evaluation asks too."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 10
    """Steps between checkpoints; the last step always makes one."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """How many of the newest checkpoints to keep."""
    record_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the groups whose responses are written to RUN/trajectories, evenly spread."""

    @model_validator(mode="after")
    def _trains_on_something(self) -> Self:
        if not any(self.groups_per_step.values()):
            raise ValueError("groups_per_step: every path has 0 groups; give at least one path some")
        return self

    @model_validator(mode="after")
    def _asks_benchmarks_now_and_then(self) -> Self:
        names = [benchmark.name for benchmark in self.benchmarks]
        if names and not self.evaluate_every:
            raise ValueError("benchmarks are asked every evaluate_every versions, which is 0: give it a number")
        if len(set(names)) < len(names):
            raise ValueError(f"benchmarks: {', '.join(names)}: each may be named once")
        return self

    def is_recorded(self, index: int) -> bool:
        """Whether responses to the feed's prompt at `index` are written down: in a resumed run the same as before."""
        return int((index + 1) * self.record_share) > int(index * self.record_share)


class DeadlineConfig(StrictModel):
    """Seconds after which a wait is an error that names who waited for whom."""

    place_s: Annotated[float, Field(gt=0)] = 1800
    """Finding room for an actor: on a cluster that scales itself, Ray waits for a node to be added and set up. On a
    single machine (`address: null`) it is two minutes at most."""
    start_s: Annotated[float, Field(gt=0)] = 600
    """An actor's start once it has its room: loading its model, and the first answer."""
    generate_s: Annotated[float, Field(gt=0)] = 300
    """One response, from the moment an engine is given it. What waits in the coordinator for a free engine is not
    counted."""
    probe_s: Annotated[float, Field(gt=0)] = 30
    """The one token that a health probe asks of a rollout worker; after two missed probes the worker is replaced."""
    score_s: Annotated[float, Field(gt=0)] = 10
    """The scores of one group; after that the reward worker is killed and replaced, and each response is tried
    alone."""
    update_s: Annotated[float, Field(gt=0)] = 1800
    """One policy update."""
    push_s: Annotated[float, Field(gt=0)] = 360
    """Each step of a weight push; a learner that passes it is taken for lost. So it must be longer than
    `rollout.engine.transfer_timeout_s`, by what a transfer that failed needs to end."""
    save_s: Annotated[float, Field(gt=0)] = 900
    """Writing or reading one checkpoint."""
    patience_s: Annotated[float, Field(gt=0)] = 120
    """A loop that waits longer than this is reported: whom it waits for, and the state of every worker."""
    stop_s: Annotated[float, Field(gt=0)] = 60
    """Ending all processes when a run is over; those that are left after that are killed."""
    finish_s: Annotated[float, Field(gt=0)] | None = None
    """Finishing the update that is under way and writing a checkpoint, after Ctrl-C or SIGTERM. After that the run ends
    without this checkpoint, and `--resume` takes the one before. null: update_s + push_s + save_s. Where a scheduler
    kills a job some time after its SIGTERM, that time minus `stop_s` is right."""

    @property
    def until_checkpoint_s(self) -> float:
        """From the request to stop to its checkpoint."""
        return self.update_s + self.push_s + self.save_s if self.finish_s is None else self.finish_s


class ClusterConfig(StrictModel):
    """Where Ray is and what each actor asks of it."""

    address: str | None = None
    """A running cluster ("auto", "ray://…"), or null to start one on this machine and end it with the run."""
    num_reward_workers: Annotated[int, Field(ge=1)] = 1
    """Processes that score responses."""
    reward_worker_cpus: Annotated[float, Field(ge=0)] = 0.25
    """Ray CPUs of one reward worker."""
    reward_memory_gib: Annotated[float, Field(gt=0)] | None = 2.0
    """GiB that scoring may take in one reward worker, beyond what the worker has once the reward is loaded; past it the
    worker is replaced. Processes that a grader starts are not counted. null: no bound."""
    learner_rank_cpus: Annotated[float, Field(ge=0)] = 0.5
    """Ray CPUs of one learner rank."""
    learner_rank_gpus: Annotated[float, Field(ge=0)] = 0
    """Ray GPUs of one learner rank: 1 on a GPU cluster."""
    learner_resources: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Custom Ray resources of one learner rank, such as {learner: 1}; ranks then run only on nodes that offer them."""
    learner_threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads of one learner rank; null: the machine's cores divided by its ranks."""
    deadlines: DeadlineConfig = DeadlineConfig()
    """How long anything may take."""

    def threads_of_rank(self, num_ranks: int) -> int | None:
        """CPU threads of a rank: as set, else a fair share of this machine's cores, else (on GPUs) PyTorch's choice."""
        if self.learner_threads is not None or self.learner_rank_gpus:
            return self.learner_threads
        return max(1, len(os.sched_getaffinity(0)) // num_ranks)


class TelemetryConfig(StrictModel):
    """Where metrics go besides the run's folder."""

    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """"auto": online when a key is set on this machine, else offline (`wandb sync` uploads it later)."""
    project: Annotated[str, Field(min_length=1)] = "sr-real"
    """The wandb project."""
    samples_every: Annotated[int, Field(ge=1)] = 10
    """Steps between two tables of samples, with their images, in wandb."""
    num_samples: Annotated[int, Field(ge=0)] = 4
    """Groups of each path in that table, with one response each."""


class SessionConfig(StrictModel):
    """Everything that decides what a run does with its model and its data."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of data, weights, order and sampling."""
    prompt: PromptConfig = PromptConfig()
    """How samples become prompts."""
    training: TrainingConfig
    """Reinforcement learning: groups, steps, staleness, filter, checkpoints."""
    learner: LearnerConfig = LearnerConfig()
    """The policy update, and the cold start before it (`learner.sft`)."""
    rollout: RolloutConfig = RolloutConfig()
    """The engines and how they sample."""
    rewards: RewardConfig = RewardConfig()
    """Weights and tables of the rewards."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Held-out questions, before and after."""
    telemetry: TelemetryConfig = TelemetryConfig()
    """wandb, and what is sent there."""
    cluster: ClusterConfig = ClusterConfig()
    """Ray: where it is, what each actor asks of it, and how long anything may take."""
    max_bad_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of bad lines in a data file that are skipped and counted; above it the run stops."""

    @property
    def steps_per_update(self) -> int:
        """Optimiser steps that one update makes when none of its responses is missing: what a schedule counts with."""
        num_responses = sum(self.training.groups_per_step.values()) * self.training.group_size
        return min(self.learner.optimizer_steps_per_batch, num_responses)

    @property
    def num_cpus(self) -> float:
        """What all actors of the run together ask Ray for, with as many rollout workers as it may be scaled to."""
        return (
            self.rollout.max_workers * self.rollout.cpus_per_worker
            + self.learner.num_ranks * self.cluster.learner_rank_cpus
            + self.cluster.num_reward_workers * self.cluster.reward_worker_cpus
        )

    @property
    def custom_resources(self) -> dict[str, float]:
        """The same of custom Ray resources."""
        workers = {name: self.rollout.max_workers * own for name, own in self.rollout.resources_per_worker.items()}
        ranks = {name: self.learner.num_ranks * own for name, own in self.cluster.learner_resources.items()}
        return {name: workers.get(name, 0.0) + ranks.get(name, 0.0) for name in workers | ranks}

    @model_validator(mode="after")
    def _a_failed_transfer_costs_no_learner(self) -> Self:
        push_s, transfer_s = self.cluster.deadlines.push_s, self.rollout.engine.transfer_timeout_s
        if push_s < transfer_s + LEAST_PUSH_MARGIN_S:
            raise ValueError(
                f"cluster.deadlines.push_s={push_s:g} is not {LEAST_PUSH_MARGIN_S} s more than "
                f"rollout.engine.transfer_timeout_s={transfer_s:g}: a transfer that passes its own deadline would be "
                "cut off before it can end, and the learner be taken for lost instead of the engine; raise push_s or "
                "lower transfer_timeout_s"
            )
        return self

    @model_validator(mode="after")
    def _inner_deadlines_can_fire(self) -> Self:
        """What waits longest must not be cut off first: its own message, which says more, would never be seen."""
        engine, outer = self.rollout.engine, self.cluster.deadlines
        for inner, within in (
            ("start_timeout_s", "start_s"),
            ("generate_timeout_s", "generate_s"),
            ("control_timeout_s", "push_s"),
        ):
            inner_s, outer_s = getattr(engine, inner), getattr(outer, within)
            if inner_s >= outer_s:
                raise ValueError(
                    f"rollout.engine.{inner}={inner_s:g} lies within cluster.deadlines.{within}={outer_s:g} and could "
                    f"never pass: make {inner} shorter, or {within} longer"
                )
        # Waited for twice: vLLM ends its processes, then the engine ends those that are left.
        if 2 * engine.shutdown_timeout_s >= outer.stop_s:
            raise ValueError(
                f"rollout.engine.shutdown_timeout_s={engine.shutdown_timeout_s:g} passes twice within "
                f"cluster.deadlines.stop_s={outer.stop_s:g}, and the second time could not end: make "
                "shutdown_timeout_s shorter, or stop_s longer"
            )
        collective_s = self.learner.deepspeed.collective_timeout_s
        if collective_s >= outer.update_s:
            raise ValueError(
                f"learner.deepspeed.collective_timeout_s={collective_s:g} lies within cluster.deadlines.update_s="
                f"{outer.update_s:g} and could never pass: make the first shorter, or the second longer"
            )
        return self

    @model_validator(mode="after")
    def _scaling_can_tell_who_waits(self) -> Self:
        if self.rollout.scaling.type == "queue" and self.training.max_staleness == 0:
            raise ValueError(
                "rollout.scaling.type='queue', but training.max_staleness=0: the learner then waits for groups in each "
                "step, however many workers there are; allow staleness, or set rollout.num_workers and type='fixed'"
            )
        return self
